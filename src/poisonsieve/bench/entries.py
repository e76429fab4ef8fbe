"""The entries of an experiment file: rows, models, attacks and defences.

Imports nothing heavy: a file is read and validated quickly, and its names are looked up later.
"""

from __future__ import annotations

from typing import Any, Literal, Self

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
    with_arguments,
)
from poisonsieve.thresholds import CONFIDENCE

#: The text form of no defence, also its name in the paper's tables.
NONE = "none"
Setting = Literal["full_data", "full_task"]


class GridRows(Spec):
    """Sources of rows, by names that `poisonsieve.data.load_dataset` knows.

    Attributes:
        train: rows to train on.
        dev: clean rows for choosing the best epoch, for every choice of a defence, and for calibration. None: a
            seeded tenth of `train` is held out.
        test: rows to evaluate on; only the user's rows have them.
    """

    train: str
    dev: str | None = None
    test: str | None = None


class Limits(Spec):
    """Maximum numbers of rows, drawn once with a fixed seed, each class in proportion; None for all rows.

    Attributes:
        train, dev, test: of the user's rows.
        triggered: of the triggered test rows of each attack.
        attacker_train, attacker_dev: of the attacker's rows, if they differ from the user's.
        words, attacker_words: number of words that the user's and the attacker's texts are cut to before a trigger
            goes in: in a long text, the trigger would fall behind the length limit.
    """

    train: int | None = Field(None, ge=2)
    dev: int | None = Field(None, ge=2)
    test: int | None = Field(None, ge=2)
    triggered: int | None = Field(None, ge=1)
    attacker_train: int | None = Field(None, ge=2)
    attacker_dev: int | None = Field(None, ge=2)
    words: int | None = Field(None, ge=2)
    attacker_words: int | None = Field(None, ge=2)


class DatasetEntry(Spec):
    """One data set in one setting.

    Attributes:
        name: its name in tables; None for the key of the entry.
        setting: the attacker's data: the user's own rows (``full_data``) or others of the same task (``full_task``).
        data: the user's rows.
        attacker: the attacker's rows; required with ``full_task``, and not allowed otherwise.
        target: the class the attacker wants, by name or number.
        limits: see `Limits`.
        attacks: attacks to run on it, beside ``clean`` ones; None for all.
    """

    name: str | None = None
    setting: Setting
    data: GridRows
    attacker: GridRows | None = None
    target: str = "0"
    limits: Limits = Limits()
    attacks: list[str] | None = None

    @model_validator(mode="after")
    def _setting_fits(self) -> Self:
        if (self.setting == "full_task") != (self.attacker is not None):
            raise ValueError("attacker rows belong to setting full_task, which needs them; give both or neither")
        if self.data.test is None:
            raise ValueError("data.test is missing; name rows to evaluate on")
        return self


class ThresholdEntry(Spec):
    """A detector's threshold rule: a fixed gamma, or a false-rejection rate to keep to on held-out clean rows.

    Attributes:
        frr: a rate to keep to with 95% confidence over the draw of the calibration rows.
        frr_mean: a rate to keep to on average over such draws.
        gamma: a fixed threshold.
    """

    frr: float | None = Field(None, gt=0, lt=1)
    frr_mean: float | None = Field(None, gt=0, lt=1)
    gamma: float | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if len(self.rule) != 1:
            raise ValueError("give exactly one of frr, frr_mean and gamma")
        return self

    @property
    def rule(self) -> dict[str, float]:
        """The one that is given, as `Calibration.choose` takes it."""
        found: dict[str, float] = self.model_dump(exclude_none=True)
        return found

    def judged_by(self) -> dict[str, float]:
        """What results say of it. Where `frr` stands without a confidence, they are of a time when it was the mean."""
        return {**self.rule, **({"confidence": CONFIDENCE} if self.frr is not None else {})}


class ModelEntry(Spec):
    """One clean pretrained model.

    Attributes:
        model: packaged alias, folder or hub id.
        bits: 4 freezes it in 4 bits: it is poisoned by LoRA, which is then merged into its weights, and supports
            every tuning but full tuning.
        tunings: entries of `victims` to tune it with; None for all.
        beside: the model whose published values stand beside its own; None for its own name.
        poison: settings of the attacker's training that this model needs, which override those of every attack.
        victims: the same for each entry of `victims`.
        threshold: threshold rule to use instead of the grid's.
    """

    model: str
    bits: Literal[4] | None = None
    tunings: list[str] | None = None
    beside: str | None = None
    poison: dict[str, Any] = Field(default_factory=dict)
    victims: dict[str, dict[str, Any]] = Field(default_factory=dict)
    threshold: ThresholdEntry | None = None


class AttackEntry(Spec):
    """One attack: a trigger to put into the attacker's rows, or rows that are already poisoned.

    Attributes:
        trigger: a trigger in its text form, such as ``badnet:word=cf``.
        poisoning: how the weights are poisoned, in the same form.
        count, rate, clean_label, select: see `AttackSpec`.
        poisoned: training rows that are already poisoned, instead of `trigger`.
        triggered: triggered test rows with their true labels; None puts `trigger` into the test rows.
        training: fields of `TuneSpec` that override the grid's `poison` for this attack.
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
            raise ValueError("poisoned rows need triggered test rows; give triggered too")

    def attack(self, target: int, seed: int) -> AttackSpec:
        """Return the spec of an attack with a trigger; `target` is the number of the target class."""
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


class GridAttack(AttackEntry):
    """One attack, see `AttackEntry`; or none, with `clean`.

    Attributes:
        clean: nobody poisons anything: the same training on the attacker's clean rows. Its victims also show how many
            triggered rows of the other attacks get the target label anyway (the floor).
        floors: with `clean`, the attacks whose floor is measured; None for all.
        defenses: entries of `defenses` to run against it; None for all.
        datasets: data sets to run it on, each with the settings that change there, such as `count`; None for all data
            sets, without changes.
        family: family of its trigger (word, sentence, syntax, ...), for tables grouped by it; None for its name.
    """

    clean: bool = False
    floors: list[str] | None = None
    defenses: list[str] | None = None
    datasets: dict[str, dict[str, Any] | None] | None = None
    family: str | None = None

    def _check_origin(self) -> None:
        if not self.clean:
            super()._check_origin()
        elif self.trigger or self.poisoned or self.triggered:
            raise ValueError("clean means that there is no trigger; remove trigger, poisoned and triggered")

    def on(self, dataset: str) -> Self:
        """Return the attack with the settings of one data set.

        Raises:
            ConfigError: the changed settings are invalid.
        """
        changes = (self.datasets or {}).get(dataset) or {}
        if not changes:
            return self
        return make_spec(type(self), **{**self.model_dump(exclude={"datasets"}, exclude_unset=True), **changes})


class DefenseEntry(Spec):
    """One defence: a registered one, or files of rewritten texts.

    Attributes:
        defense: a defence in its text form, such as ``strip:copies=20``; ``none`` is no defence.
        vary: further arguments, by their name in tables; each makes a cell of its own.
        on: weights that a detector is fitted on: theta_p, or the victim tuned from it.
        retune: whether a victim is tuned from repaired weights; if not, the repaired model itself is the victim.
        threshold: threshold rule of this detector, instead of the model's or the file's.
        datasets: data sets to run it on; None for all.
        clean: rewrites of the test rows, row by row.
        triggered: rewrites of the triggered test rows, row by row, by the attack's name in this file; an attack
            without an entry has no such cell.
    """

    defense: DefenseText | None = None
    vary: dict[str, dict[str, Any]] = Field(default_factory=dict)
    on: Literal["theta_p", "victim"] = "theta_p"
    retune: bool = True
    threshold: ThresholdEntry | None = None
    datasets: list[str] | None = None
    clean: str | None = None
    triggered: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.defense is None) == (self.clean is None):
            raise ValueError("give exactly one of defense and clean (a file of rewrites)")
        if self.vary and self.defense in (None, NONE):
            raise ValueError("vary gives arguments of a defense; name one in defense")
        return self

    @property
    def variants(self) -> list[str | None]:
        """The names in `vary`, or [None] if there are none."""
        return [*self.vary] or [None]

    def text(self, variant: str | None = None) -> str:
        """Return the defence in its text form, with the arguments of an entry of `vary`; empty for files of rewrites.

        Raises:
            ConfigError: a value of `vary` cannot be written as text.
        """
        text = self.defense or ""
        return text if variant is None else with_arguments(text, self.vary[variant])


class Sweep(Spec):
    """One panel of a figure: one setting over several values, with all else fixed.

    Attributes:
        victim: the entry of `victims` to sweep.
        field: a field of `TuneSpec`, or ``gamma``, which needs no training.
        values: values of the field.
    """

    victim: str
    field: str
    values: list[Any] = Field(min_length=1)

    def named(self, value: Any) -> str:
        """Return the name of the victim with one value set."""
        return f"{self.victim}[{self.field}={value}]"


class Resources(Spec):
    """CPUs and (fractions of) GPUs that a stage that trains or scores requests from a cluster."""

    cpus: float = Field(1, gt=0)
    gpus: float = Field(0, ge=0)
