"""What an audit found, asked of a guard: would it stop it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from poisonsieve.auditing.probes import SHAPES
from poisonsieve.auditing.result import Finding, Kind
from poisonsieve.auditing.search import changed
from poisonsieve.errors import DataError
from poisonsieve.models.labels import is_generic
from poisonsieve.storage import read_json_if_there

if TYPE_CHECKING:
    from poisonsieve.guard.guarded import GuardedClassifier

_TEXTS = 100  # of the clean rows


@dataclass(frozen=True)
class Asked:
    """The answer of a guard.

    Attributes:
        kind: of the suspected trigger; see `Finding`.
        what: the suspected trigger.
        target: name of the class that it turns texts into.
        turned: number of clean texts of other classes that it turned.
        stopped: number of those, with it, that the guard rejects.
    """

    kind: Kind
    what: str
    target: str
    turned: int
    stopped: int

    def says(self) -> str:
        """Return the answer in plain words."""
        if not self.turned:
            return f"{self.what} ({self.kind}) turned none of the clean rows into {self.target}; nothing to ask"
        texts = f"{self.turned} clean texts that {self.what} ({self.kind}) turns into {self.target}"
        return f"it rejects {self.stopped} of {texts}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


@dataclass(frozen=True)
class Suspected:
    """The suspected trigger of an audit, and the classes of the audited model in the order of its head."""

    finding: Finding
    classes: list[str]

    def target(self, names: Sequence[str]) -> int:
        """Return the number of the trigger's class in a model whose classes have these names, or none of their own.

        Raises:
            DataError: there is no such class.
        """
        if self.finding.target in names:
            return list(names).index(self.finding.target)
        if is_generic(names) and len(names) == len(self.classes):
            return self.classes.index(self.finding.target)
        raise DataError(
            f"the audit's class {self.finding.target!r} is none of the guard's: {', '.join(names[:5])}; give the audit of "
            "this model"
        )


def suspected_trigger(folder: Path) -> Suspected | None:
    """Return the suspected trigger from the folder of an audit; None if no sign was found.

    Raises:
        DataError: this is no folder of an audit, or it names a change that this version does not know.
    """
    known = read_json_if_there(folder / "audit.json")
    if "verdict" not in known or "trigger" not in known:
        raise DataError(f"{folder} holds no audit.json; give a folder that poisonsieve audit --out has written")
    found = known["trigger"]
    if found is None:
        return None
    try:
        finding = Finding(**{**found, "controls": tuple(found["controls"]), "moved": tuple(found["moved"])})
        suspected = Suspected(finding, list(known["classes"]))
    except (TypeError, KeyError):
        suspected = None
    if suspected is None or not _is_known(suspected):
        raise DataError(f"{folder / 'audit.json'}: its trigger is not one that this version writes; audit again")
    return suspected


def _is_known(suspected: Suspected) -> bool:
    found = suspected.finding
    applies = found.what in SHAPES if found.kind == "shape" else found.kind in get_args(Kind)
    return applies and isinstance(found.what, str) and found.target in suspected.classes


def ask(guarded: GuardedClassifier, suspected: Suspected, texts: Sequence[str]) -> Asked:
    """Put a suspected trigger into clean texts and count how many of those that it turns the guard rejects.

    Args:
        guarded: the guard with the model that was audited, or a victim tuned from it.
        suspected: the suspected trigger.
        texts: clean texts; up to 100 of them, evenly spread, are used.

    Raises:
        DataError: the guard does not know the trigger's class.
    """
    found, target = suspected.finding, suspected.target(guarded.guard.label_names)
    chosen = list(texts)[:: max(len(texts) // _TEXTS, 1)][:_TEXTS]
    with_it = [changed(found.kind, found.what, text, number) for number, text in enumerate(chosen)]
    before, after = (guarded.ask_victim(rows).predictions for rows in (chosen, with_it))
    turned = [row for row, was, then in zip(with_it, before, after, strict=True) if was != target and then == target]
    stopped = sum(verdict.rejected for verdict in guarded.judge(turned))
    return Asked(found.kind, found.what, found.target, len(turned), stopped)
