"""Several detectors as one: a text is as suspicious as the member that suspects it most.

Detectors fail on different attacks. PSIM sees what a model stays sure of, and misses a trigger that was trained to be
unsure; distances in feature space see that one, and miss others. Each member's score is converted to its rarity among
clean rows, which makes scores of any scale comparable, and the highest rarity decides. The threshold is then found on
the combined score: one false-rejection rate holds for all members together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from poisonsieve.config import Source
from poisonsieve.defenses.detector import Detector, Scored
from poisonsieve.defenses.rarity import FEWEST_ROWS, LinearRarity, Rarity
from poisonsieve.defenses.rows import CleanRows
from poisonsieve.defenses.specs import DefenseSpec, kind_of, make_defense
from poisonsieve.defenses.tensors import read_tensors, write_tensors
from poisonsieve.errors import CheckpointError, ConfigError
from poisonsieve.models.classifier import Classifier
from poisonsieve.registry import get, register

#: Kinds of rarity, by the file that holds their references: a gamma found with one means nothing to another, and an older
#: version of this package cannot take the one for the other.
_FILES: dict[type[Rarity], str] = {Rarity: "rarities.safetensors", LinearRarity: "references.safetensors"}


@register("defense", "combined")
class Combined(Detector):
    """Several detectors under one false-rejection rate: the score is the largest rarity over them.

    A member's rarity of a text is -log of the share of clean reference rows that score as high; see
    `poisonsieve.defenses.rarity.Rarity`. A guard's calibration rows become the reference, because members may score texts
    that their model was trained on lower than new ones. Without a guard it is a seeded fifth of the clean rows, on which
    no member is fitted.

    A text that a member cannot score has no score. Scoring costs what the members cost together.

    Args:
        model: theta_p with its trained head, or a victim tuned from it.
        of: names of detectors, joined by ``+``; each by its defaults.
        base, allow_pickle: see `NetworkDetector`.
        seed: seed of the members and of the choice of reference rows.

    Attributes:
        members_: the fitted detectors, by name.
        references_: each member's scores of the reference rows, by name.
    """

    name: ClassVar[str] = "combined"
    score_range: ClassVar[tuple[float, float]] = (0.0, np.inf)

    model: str | Path = field(kw_only=False)
    of: str = "psim+dan"
    base: Source | None = None
    allow_pickle: bool = False
    members_: dict[str, Detector] = field(init=False)
    references_: dict[str, Rarity] = field(init=False)

    def plan(self, label_names: Sequence[str] | None) -> dict[str, Any]:
        """Return its settings, and every member's plan."""
        plans = {name: member.plan(label_names) for name, member in self._make().items()}
        start = next(iter(plans.values()))["start"]
        members = {name: plan["guard"] for name, plan in plans.items()}
        return {"start": start, "guard": {"method": self.name, "seed": self.seed, "members": members}}

    def _make(self) -> dict[str, Detector]:
        names = [name.strip() for name in self.of.split("+") if name.strip()]
        if len(names) < 2 or len(set(names)) < len(names) or self.name in names:
            raise ConfigError(f"combined: of={self.of!r} has to name two or more different detectors, joined by +")
        common = {"base": self.base, "allow_pickle": self.allow_pickle, "seed": self.seed}
        made: dict[str, Detector] = {}
        for name in names:
            if kind_of(name) != "detector":
                raise ConfigError(f"combined: {name} is no detector, so it has no score to combine")
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
        self.references_ = {
            name: Rarity.of(member.score(reference, progress=f"{name}: reference" if progress else None).scores, name)
            for name, member in members.items()
        }

    def score_calibration(self, texts: Sequence[str], *, progress: str | None = None) -> Scored:
        """Score a guard's calibration rows, which become the reference if at least 20 have a score of every member."""
        scored = {
            name: member.score_calibration(texts, progress=progress and f"{progress}: {name}")
            for name, member in self._fitted().items()
        }
        if min(np.isfinite(found.scores).sum() for found in scored.values()) < FEWEST_ROWS:
            return self._rated(scored)
        self.references_ = {name: Rarity(found.scores) for name, found in scored.items()}
        own = {name: self.references_[name].of_its_own(found.scores) for name, found in scored.items()}
        return self._together(scored, own)

    def _score(self, texts: list[str], *, progress: str | None) -> Scored:
        scored = {
            name: member.score(texts, progress=progress and f"{progress}: {name}")
            for name, member in self._fitted().items()
        }
        return self._rated(scored)

    def _rated(self, scored: dict[str, Scored]) -> Scored:
        """Score texts by their rarities among the reference rows."""
        return self._together(scored, {name: self.references_[name](found.scores) for name, found in scored.items()})

    @staticmethod
    def _together(scored: dict[str, Scored], rarities: dict[str, np.ndarray]) -> Scored:
        """Join what the members say of the same texts: the largest rarity, and the first error."""
        errors = [
            next(filter(None, reasons), None) for reasons in zip(*(s.errors for s in scored.values()), strict=True)
        ]
        truncated = np.any([found.truncated for found in scored.values()], axis=0)
        largest: np.ndarray = np.max(list(rarities.values()), axis=0)  # a NaN among them propagates
        return Scored(largest, truncated, errors)

    def save(self, folder: Path) -> dict[str, Any]:
        """Save each member in a folder of its name, and the references; see the base class."""
        states = {}
        for name, member in self._fitted().items():
            (folder / name).mkdir()
            states[name] = member.save(folder / name)
        references = {name: known.reference for name, known in self.references_.items()}
        write_tensors(folder / _FILES[type(next(iter(self.references_.values())))], references)
        return {"label_names": self.label_names, "of": self.of, "seed": self.seed, "members": states}

    @classmethod
    def open(cls, folder: Path, state: dict[str, Any], *, base: str | Path | None, allow_pickle: bool) -> Self:
        """Open the members, each from its folder; see the base class."""
        try:
            members: dict[str, Any] = {**state["members"]}
            source = next(iter(members.values()))["base"]["source"]
            opened = cls(source, of=str(state["of"]), seed=int(state["seed"]), allow_pickle=allow_pickle)
            opened.members_ = {
                name: get("defense", name).open(folder / name, entry, base=base, allow_pickle=allow_pickle)
                for name, entry in members.items()
            }
        except (KeyError, TypeError, ValueError, StopIteration) as error:
            raise CheckpointError(f"{folder} is damaged: {error}; fit the guard again") from None
        rarity = next((kind for kind, file in _FILES.items() if (folder / file).is_file()), Rarity)
        tensors = read_tensors(folder / _FILES[rarity], dict.fromkeys(members, (None,)))
        opened.references_ = {name: rarity(values) for name, values in tensors.items()}
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

    def _first(self) -> Detector:
        return next(iter(self._fitted().values()))

    def _fitted(self) -> dict[str, Detector]:
        if not hasattr(self, "members_"):
            raise ConfigError("this combined guard is not fitted yet; call fit first")
        return self.members_
