"""What every file of experiments is made of: rows, models, attacks, defences, and the data root in their names.

Nothing heavy is imported here: a file is read and checked in a moment, and what its names mean is looked up later.
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

#: The text form of no defence, and the name that its entry has in the paper's tables.
NONE = "none"
Setting = Literal["full_data", "full_task"]


class GridRows(Spec):
    """Where rows come from: names that `poisonsieve.data.load_dataset` knows.

    Attributes:
        train: rows to train on.
        dev: clean rows for the best epoch, for every choice a defence makes, and for calibration. Without, a seeded
            tenth of `train` is held out.
        test: rows that everything is counted on. Only the user's rows have them.
    """

    train: str
    dev: str | None = None
    test: str | None = None


class Limits(Spec):
    """How many rows are used, drawn once by a fixed seed, each class in its share; all of them when left out.

    Attributes:
        train, dev, test: of the user's rows.
        triggered: of the triggered test rows of each attack.
        attacker_train, attacker_dev: of the attacker's rows, where they are others than the user's.
        words, attacker_words: words that the user's and the attacker's texts are cut to, before a trigger is put in: in a
            long text it would fall behind the length limit.
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
        name: what it is called in tables; the key of the entry when left out.
        setting: what the attacker has: the user's own rows (``full_data``) or others of the same task (``full_task``).
        data: the user's rows.
        attacker: the attacker's rows; with ``full_task`` only, and always then.
        target: the class the attacker wants, by name or number.
        limits: see `Limits`.
    """

    name: str | None = None
    setting: Setting
    data: GridRows
    attacker: GridRows | None = None
    target: str = "0"
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _setting_fits(self) -> Self:
        if (self.setting == "full_task") != (self.attacker is not None):
            raise ValueError("attacker rows belong to setting full_task, and full_task needs them")
        if self.data.test is None:
            raise ValueError("data.test is missing: there is nothing to count on")
        return self


class ThresholdEntry(Spec):
    """How a detector's scores become verdicts: a fixed gamma, or one from held-out clean rows for a rejection rate."""

    gamma: float | None = None
    frr: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.gamma is None) == (self.frr is None):
            raise ValueError("give exactly one of gamma and frr")
        return self


class ModelEntry(Spec):
    """One clean pretrained model.

    Attributes:
        model: packaged alias, folder or hub id.
        bits: 4 freezes it in 4 bits: it is poisoned by LoRA, which is then added to its weights, and tuned by anything
            but full tuning.
        tunings: the entries of `victims` that it is tuned by; all when left out.
        beside: the model whose published figures stand beside its own; its own name when left out.
        poison: settings of the attacker's training that this model needs otherwise, whatever an attack asks for.
        victims: the same for each entry of `victims`.
        threshold: another threshold than the grid's.
    """

    model: str
    bits: Literal[4] | None = None
    tunings: list[str] | None = None
    beside: str | None = None
    poison: dict[str, Any] = Field(default_factory=dict)
    victims: dict[str, dict[str, Any]] = Field(default_factory=dict)
    threshold: ThresholdEntry | None = None


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


class GridAttack(AttackEntry):
    """One attack, see `AttackEntry`; or none, with `clean`.

    Attributes:
        clean: nobody poisons anything: the same training on the attacker's clean rows. Its victims also show how many
            triggered rows of the other attacks go to the target by themselves.
        floors: with `clean`, which attacks' rows these are; all when left out.
        defenses: the entries of `defenses` that stand before it; all when left out.
        datasets: the data sets that it is run on, each with what is otherwise there, such as another `count`; all, and
            nothing, when left out.
        family: what its trigger is (word, sentence, syntax, ...), for tables that group by it; its name when left out.
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
            raise ValueError("clean means that there is no trigger; leave trigger, poisoned and triggered out")

    def runs_on(self, dataset: str) -> bool:
        """Whether it is run on the data set of that name."""
        return self.datasets is None or dataset in self.datasets

    def on(self, dataset: str) -> Self:
        """The attack as it is run there.

        Raises:
            ConfigError: what is otherwise there makes no sense.
        """
        changes = (self.datasets or {}).get(dataset) or {}
        if not changes:
            return self
        return make_spec(type(self), **{**self.model_dump(exclude={"datasets"}, exclude_unset=True), **changes})


class DefenseEntry(Spec):
    """One defence: by its registered name, or as files of texts that somebody rewrote.

    Attributes:
        defense: a defence in its text form, such as ``strip:copies=20``; ``none`` is no defence.
        vary: more of its arguments, by the names that tables give them: each is a cell of its own.
        on: the weights that a detector is fitted on: theta_p, or the victim that was tuned from it.
        retune: whether a victim is tuned from what a repair gives; else the repaired weights answer.
        threshold: another threshold for a detector than the model's or the file's.
        clean: rewrites of the test rows, row by row.
        triggered: rewrites of the triggered test rows, row by row, by the attack's name in this file;
            attacks that are not named have no such cell.
    """

    defense: DefenseText | None = None
    vary: dict[str, dict[str, Any]] = Field(default_factory=dict)
    on: Literal["theta_p", "victim"] = "theta_p"
    retune: bool = True
    threshold: ThresholdEntry | None = None
    clean: str | None = None
    triggered: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.defense is None) == (self.clean is None):
            raise ValueError("give exactly one of defense and clean (a file of rewrites)")
        if self.vary and self.defense in (None, NONE):
            raise ValueError("vary needs a defense whose arguments it gives")
        return self

    @property
    def variants(self) -> list[str | None]:
        """The names of `vary`; None alone where there are none."""
        return [*self.vary] or [None]

    def text(self, variant: str | None = None) -> str:
        """The defence in its text form, with the arguments of one entry of `vary`; empty for files of rewrites.

        Raises:
            ConfigError: a value of `vary` cannot be written as text.
        """
        text = self.defense or ""
        return text if variant is None else with_arguments(text, self.vary[variant])


class Sweep(Spec):
    """One panel of a figure: one setting over several values, all else as it is.

    Attributes:
        victim: the entry of `victims` it is swept for.
        field: a field of `TuneSpec`, or ``gamma``, which needs no training.
        values: what it is set to.
    """

    victim: str
    field: str
    values: list[Any] = Field(min_length=1)

    def named(self, value: Any) -> str:
        """The victim's name with one value set."""
        return f"{self.victim}[{self.field}={value}]"


class Resources(Spec):
    """What one stage that trains or scores asks a cluster for: processors and (shares of) GPUs."""

    cpus: float = Field(1, gt=0)
    gpus: float = Field(0, ge=0)
