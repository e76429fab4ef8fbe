"""How much an audit may spend."""

from __future__ import annotations

from dataclasses import dataclass

from poisonsieve.errors import ConfigError


@dataclass(frozen=True)
class Budget:
    """The sizes of an audit.

    Attributes:
        name: how the user asks for it.
        controls: clean models to train.
        rows: clean rows to use, at most.
        words: words of the tokenizer's vocabulary to scan, at most.
        words_a_row: words that share a row of the scan's first stage.
        taught: rows of words that the audited model teaches its student.
        confirmed: words of each class that are tried on after the scan.
        carriers: short texts that they are tried in.
        verified: words of each class that are counted on held-out texts.
        counted: changes of each class that are counted on the controls too: those that turn the audited model most.
        texts: held-out texts of other classes to count on.
        steps: words that a phrase may gain, one a step; 0 for single words only.
        beam: phrases that are kept from one step to the next.
        partners: words that a phrase may gain in a step.
    """

    name: str
    controls: int
    rows: int
    words: int
    words_a_row: int
    taught: int
    confirmed: int
    carriers: int
    verified: int
    counted: int
    texts: int
    steps: int
    beam: int
    partners: int


BUDGETS = {
    budget.name: budget
    for budget in (
        Budget("quick", 2, 500, 40_000, 8, 2_000, 32, 6, 4, 8, 40, 2, 2, 12),
        Budget("normal", 3, 1_000, 60_000, 6, 3_000, 48, 8, 8, 10, 80, 4, 3, 32),
        Budget("thorough", 5, 2_000, 250_000, 4, 6_000, 96, 12, 12, 16, 120, 5, 4, 64),
    )
}


def get_budget(name: str) -> Budget:
    """Return a budget by its name.

    Raises:
        ConfigError: there is no such budget.
    """
    if name not in BUDGETS:
        raise ConfigError(f"unknown budget {name!r}; choose from {', '.join(BUDGETS)}")
    return BUDGETS[name]
