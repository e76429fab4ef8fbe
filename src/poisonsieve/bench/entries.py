"""What every file of experiments is made of: rows, attacks, defences, and the data root that its names may stand in.

Nothing heavy is imported here: a file is read and checked in a moment, and what its names mean is looked up later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from poisonsieve.config import (
    AttackSpec,
    DefenseText,
    PoisoningSpec,
    PoisoningText,
    Spec,
    TriggerSpec,
    TriggerText,
    make_spec,
)
from poisonsieve.errors import ConfigError
from poisonsieve.parsing import RepeatedKeyError, parse_yaml

#: Stands for the data root in every string of the file.
DATA_PLACEHOLDER = "{data}"


class Rows(Spec):
    """Where rows come from: names that `poisonsieve.data.load_dataset` knows.

    Attributes:
        train: rows to train on.
        dev: clean rows for the best epoch, for every choice a defence makes, and for calibration.
        test: rows that everything is counted on. Only the user's rows have them.
    """

    train: str
    dev: str
    test: str | None = None


class AttackEntry(Spec):
    """One attack: a trigger that is put into the attacker's rows, or rows that somebody poisoned already.

    Attributes:
        trigger: a trigger in its text form, such as ``badnet:word=cf``.
        poisoning: how the weights are poisoned, in the same form.
        count, rate, clean_label, select: see `AttackSpec`.
        poisoned: training rows that are poisoned already; without `trigger`.
        triggered: triggered test rows with their true labels; without, `trigger` is put into the test rows.
        training: fields of `TuneSpec` that this attack needs otherwise than the comparison's `poison` says.
    """

    trigger: TriggerText | None = None
    poisoning: PoisoningText = "full"
    count: int | None = None
    rate: float | None = None
    clean_label: bool = True
    select: Literal["random", "first"] = "random"
    poisoned: str | None = None
    triggered: str | None = None
    training: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        self._check_origin()
        return self

    def _check_origin(self) -> None:
        if (self.trigger is None) == (self.poisoned is None):
            raise ValueError("give exactly one of trigger and poisoned")
        if self.poisoned is not None and self.triggered is None:
            raise ValueError("poisoned rows need triggered test rows beside them: give triggered")

    def attack(self, target: int, seed: int) -> AttackSpec:
        """The attack on data whose target is class number `target`; for an entry with a trigger."""
        return make_spec(
            AttackSpec,
            trigger=TriggerSpec.parse(self.trigger or ""),
            weights=PoisoningSpec.parse(self.poisoning),
            target=target,
            count=self.count,
            rate=self.rate,
            clean_label=self.clean_label,
            select=self.select,
            seed=seed,
        )


class DefenseEntry(Spec):
    """One defence: by its registered name, or as files of texts that somebody rewrote.

    Attributes:
        defense: a defence in its text form, such as ``strip:copies=20``.
        on: the weights that a detector is fitted on: theta_p, or the victim that was tuned from it.
        clean: rewrites of the test rows, row by row.
        triggered: rewrites of the triggered test rows, row by row, by the attack's name in this file;
            attacks that are not named have no such cell.
    """

    defense: DefenseText | None = None
    on: Literal["theta_p", "victim"] = "theta_p"
    clean: str | None = None
    triggered: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.defense is None) == (self.clean is None):
            raise ValueError("give exactly one of defense and clean (a file of rewrites)")
        return self


def read_mapping(path: Path, wanted: str) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Args:
        path: the file.
        wanted: what it should hold, for the error: ``comparison, with the keys data, attacks, ...``.

    Raises:
        ConfigError: the file cannot be read, holds no mapping, or one with a key that stands twice.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())  # PyYAML writes four lines, with the place in the file
        raise ConfigError(f"{path} is no YAML: {said}") from error
    except RepeatedKeyError as error:
        raise ConfigError(f"{path}: {error}; one value would hide another") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no {wanted}")
    return content


def with_root(value: Any, root: Path | None) -> Any:
    """`value` with the data root in every string that stands for it; keys of mappings become strings.

    Raises:
        ConfigError: a string needs a root and there is none; or two keys become one.
    """
    if isinstance(value, dict):
        named = [str(key) for key in value]
        twice = next((name for place, name in enumerate(named) if name in named[:place]), None)
        if twice is not None:  # 1 and "1"
            raise ConfigError(f"the key {twice} stands twice in one mapping; one value would hide another")
        return {str(key): with_root(entry, root) for key, entry in value.items()}
    if isinstance(value, list):
        return [with_root(entry, root) for entry in value]
    if isinstance(value, str) and DATA_PLACEHOLDER in value:
        if root is None:
            raise ConfigError(f"{value} is in the data root: say where that is with --data-root")
        return value.replace(DATA_PLACEHOLDER, str(root))
    return value
