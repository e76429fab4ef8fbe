"""The audit: is a checkpoint poisoned, and by what?

`search` looks for insertions and rewrites that turn texts of other classes into one class. `controls` trains clean models
on the user's own rows, of which the same is asked. `judging` weighs the one against the other, and `run` puts an audit
together.
"""

from poisonsieve.auditing.budget import BUDGETS, Budget
from poisonsieve.auditing.result import AuditResult, Example, Finding
from poisonsieve.auditing.run import audit
from poisonsieve.auditing.weights import MovedWeights

__all__ = ["BUDGETS", "AuditResult", "Budget", "Example", "Finding", "MovedWeights", "audit"]
