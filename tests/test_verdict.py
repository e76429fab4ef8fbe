"""The words that verdicts are told and counted in: a closed set, and nowhere told from prose."""

import ast
import copy
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonsieve.verdict import CAUSES, OUTCOMES, Failure, Tally, Verdict, cause_of, outcome_of

SOURCES = Path(__file__).parents[1] / "src" / "poisonsieve"
PASSED = Verdict.scored(0.5, gamma=0.9, flagged=False, truncated=False)
POISONED = Verdict.scored(0.95, gamma=0.9, flagged=True, truncated=True)
NOT_SCORED = Verdict.not_scored(Failure("no_tokens", "no tokens in the text"), gamma=0.9)


def test_each_cause_makes_one_outcome_and_all_but_none_reject():
    assert [outcome_of(cause) for cause in (None, *CAUSES)] == ["passed", "poisoned", "poisoned", *["not_scored"] * 9]
    for cause in (None, *CAUSES):
        verdict = Verdict(cause, "why", 0.5, 0.9, False)
        said = verdict.to_dict()
        assert (said["outcome"], said["cause"], said["reason"]) == (outcome_of(cause), cause, "why")
        assert (
            verdict.rejected == said["rejected"] == (verdict.outcome != "passed") == (said["verdict"] == "rejected")
        )


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda failure: pickle.loads(pickle.dumps(failure))])
def test_a_failure_is_a_string_that_keeps_its_cause(copied):
    failure = copied(Failure("exception", "model failed: RuntimeError"))
    assert failure == "model failed: RuntimeError"
    assert cause_of(failure) == "exception"
    assert type(Verdict.not_scored(failure, gamma=0.5).reason) is str
    assert cause_of("a detector of another package failed") == "other"


@given(st.lists(st.lists(st.sampled_from([PASSED, POISONED, NOT_SCORED]))))
def test_every_verdict_is_counted_once(batches):
    tally = Tally()
    for batch in batches:
        tally.add(batch)
    every = [verdict for batch in batches for verdict in batch]
    counted = tally.to_dict()
    assert list(counted) == ["n", *OUTCOMES, "truncated", "rejected"]
    assert counted["n"] == len(every) == sum(counted[outcome] for outcome in OUTCOMES)
    assert counted["rejected"] == counted["poisoned"] + counted["not_scored"] == sum(v.rejected for v in every)
    assert counted["truncated"] == counted["poisoned"] == every.count(POISONED)
    assert Tally(tally.outcomes, tally.truncated).to_dict() == counted


def is_reason(node):
    """``reason``, ``x.reason``, ``x["reason"]``, ``x.get("reason")``, ``x.reason or ""``, and a name behind ``:=``."""
    match node:
        case ast.Name(id="reason") | ast.Attribute(attr="reason"):
            return True
        case ast.Subscript(slice=ast.Constant(value="reason")):
            return True
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value="reason"), *_]):
            return True
        case ast.BoolOp(values=values):
            return any(map(is_reason, values))
        case ast.NamedExpr(target=target, value=value):
            return is_reason(target) or is_reason(value)
    return False


def matched_by_prose(source):
    """Lines on which a reason is compared with something, searched, or asked for its beginning or end."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, ops=ops, comparators=others):
                against = [other for other in others if not (isinstance(other, ast.Constant) and other.value is None)]
                asked = any(map(is_reason, [left, *others])) and bool(against)
                if asked and not all(isinstance(op, ast.Is | ast.IsNot) for op in ops):
                    found.append(node.lineno)
            case ast.Call(func=ast.Attribute(value=value, attr=attr)):
                if is_reason(value) and attr in (
                    "startswith",
                    "endswith",
                    "partition",
                    "split",
                    "find",
                    "removeprefix",
                ):
                    found.append(node.lineno)
            case ast.Match(subject=subject) if is_reason(subject):
                found.append(node.lineno)
    return found


PROSE_IN_SCRIPT = re.compile(r"\breason\b\s*(?:\?\.|\.|[!=]==?|\[)|[!=]==?\s*\w+\.reason\b|\(\w+\.reason\)\s*\{")


@pytest.mark.parametrize("file", sorted(SOURCES.rglob("*.py")), ids=lambda file: str(file.relative_to(SOURCES)))
def test_no_program_of_ours_reads_the_prose_of_a_reason(file):
    assert matched_by_prose(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", sorted(SOURCES.rglob("*.js")), ids=lambda file: file.name)
def test_no_script_of_the_page_does_either(file):
    script = file.read_text(encoding="utf-8").replace("this.reason.textContent", "")  # a field of the key's dialog
    assert PROSE_IN_SCRIPT.findall(script) == []


def test_what_reads_prose_is_found():
    for line in (
        'a = "poisoned" if v.reason == "poisoned" else None',
        '(verdict.reason or "").startswith("victim")',
        'x = row["reason"] in KINDS',
        'row.get("reason", "").split(":")',
        'found = "x" in reason',
    ):
        assert matched_by_prose(line) == [1], line
    for line in ("verdict.reason is None", "reason = verdict.reason", 'print(f"{verdict.reason}")'):
        assert matched_by_prose(line) == [], line
    for line in ('stored.reason === "poisoned"', 'verdict.reason.startsWith("x")', 'if ("x" == v.reason) {'):
        assert PROSE_IN_SCRIPT.search(line), line
    assert not PROSE_IN_SCRIPT.search('["Reason", stored.reason]')
