"""What detectors that are made of several detectors share: making, fitting, saving and opening their members."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Self

from poisonsieve.config import Source
from poisonsieve.defenses.detector import Detector, Scored
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.specs import DefenseSpec, kind_of, make_defense
from poisonsieve.errors import CheckpointError, ConfigError
from poisonsieve.models.classifier import Classifier
from poisonsieve.registry import get


class DetectorOfMembers(Detector):
    """Base of detectors made of others. A subclass says what it learns beside them, and how their scores become one.

    Args:
        model: theta_p with its trained head, or a victim tuned from it.
        of: names of detectors, joined by ``+``; each by its defaults.
        base, allow_pickle: see `NetworkDetector`.
        seed: seed of the members and of the choice of reference rows.

    Attributes:
        members_: the fitted detectors, by name, in the order of `of`.
    """

    model: str | Path = field(kw_only=False)
    of: str = ""
    base: Source | None = None
    allow_pickle: bool = False
    members_: dict[str, Detector] = field(init=False)

    def plan(self, label_names: Sequence[str] | None) -> dict[str, Any]:
        """Return its settings, and every member's plan."""
        plans = {name: member.plan(label_names) for name, member in self._make().items()}
        start = next(iter(plans.values()))["start"]
        members = {name: plan["guard"] for name, plan in plans.items()}
        return {"start": start, "guard": {"method": self.name, "seed": self.seed, "members": members}}

    def _make(self) -> dict[str, Detector]:
        """Return the members, not fitted.

        Raises:
            ConfigError: `of` does not name two or more different detectors.
        """
        names = [name.strip() for name in self.of.split("+") if name.strip()]
        if len(names) < 2 or len(set(names)) < len(names) or self.name in names:
            raise ConfigError(f"{self.name}: of={self.of!r} has to name two or more different detectors, joined by +")
        common = {"base": self.base, "allow_pickle": self.allow_pickle, "seed": self.seed}
        made: dict[str, Detector] = {}
        for name in names:
            if kind_of(name) != "detector":
                raise ConfigError(f"{self.name}: {name} is no detector, so it has no score")
            member = make_defense(DefenseSpec(name=name), model=self.model, **common)
            assert isinstance(member, Detector)  # noqa: S101 - kind_of says so; for the type checker
            made[name] = member
        return made

    def _fit(self, rows: CleanRows, *, workdir: Path | None, progress: bool) -> None:
        members = self._make()
        fitted, reference = rows.hold_out(self.seed)
        for name, member in members.items():
            member.fit(fitted, workdir=None if workdir is None else workdir / name, progress=progress)
        self.members_ = members
        self._refer_to(
            {
                name: member.score(reference, progress=f"{name}: reference" if progress else None)
                for name, member in members.items()
            }
        )

    @abstractmethod
    def _refer_to(self, scored: dict[str, Scored]) -> None:
        """Learn from the members' scores of a fifth of the clean rows, on which none of them was fitted.

        Raises:
            DataError: there are too few.
        """

    @abstractmethod
    def _save_own(self, folder: Path) -> dict[str, Any]:
        """Write what was learned beside the members into `folder`; return what of it belongs in ``guard.json``."""

    @abstractmethod
    def _restore(self, folder: Path, state: dict[str, Any]) -> None:
        """Read what `_save_own` wrote; the members are open.

        Raises:
            CheckpointError: it is damaged.
        """

    def save(self, folder: Path) -> dict[str, Any]:
        """Save each member in a folder of its name, and what was learned beside them; see the base class."""
        states = {}
        for name, member in self._fitted().items():
            (folder / name).mkdir()
            states[name] = member.save(folder / name)
        own = self._save_own(folder)
        return {"label_names": self.label_names, "of": self.of, "seed": self.seed, "members": states, **own}

    @classmethod
    def open(cls, folder: Path, state: dict[str, Any], *, base: str | Path | None, allow_pickle: bool) -> Self:
        """Open the members, each from its folder; see the base class."""
        try:
            members: dict[str, Any] = {**state["members"]}
            source = next(iter(members.values()))["base"]["source"]
            opened = cls(source, of=str(state["of"]), seed=int(state["seed"]), allow_pickle=allow_pickle)
            opened.members_ = {
                name: get("defense", name).open(folder / name, members[name], base=base, allow_pickle=allow_pickle)
                for name in opened._make()  # in their order, which JSON does not keep
            }
        except (KeyError, TypeError, ValueError, StopIteration, ConfigError) as error:
            raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None
        opened._restore(folder, state)
        return opened

    @property
    def label_names(self) -> list[str]:
        """Names of the classes the guarded model has."""
        return self._first().label_names

    @property
    def base_digest(self) -> str | None:
        """sha256 of the weights the members were fitted on."""
        return self._first().base_digest

    @property
    def classifier(self) -> Classifier | None:
        """The network with the shortest reach: a victim must not read what a member did not."""
        networks = [member.classifier for member in self._fitted().values()]
        return min(
            (found for found in networks if found is not None), key=lambda found: found.max_length, default=None
        )

    @property
    def networks(self) -> list[Classifier]:
        """The members' classifiers."""
        return [network for member in self._fitted().values() for network in member.networks]

    def _first(self) -> Detector:
        return next(iter(self._fitted().values()))

    def _fitted(self) -> dict[str, Detector]:
        if not hasattr(self, "members_"):
            raise ConfigError(f"this {self.name} guard is not fitted yet; call fit first")
        return self.members_
