"""What a grid is: one YAML file, with sections for other scales, checked as a whole before anything is trained.

Nothing heavy is imported here, so that a grid in which nothing changed is looked through in seconds. What the names in
it mean (is there such a defence, can this model do that tuning) is looked up by `poisonsieve.bench.checks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from poisonsieve.bench.entries import AttackEntry, DefenseEntry, read_mapping, with_root
from poisonsieve.config import Spec, make_spec
from poisonsieve.errors import ConfigError

Setting = Literal["full_data", "full_task"]
#: The entry of `attacks` whose weights nobody poisoned.
NORMAL = "normal"
#: The entry of `defenses` that is no defence.
NONE = "none"
#: The field of a sweep that is no training at all, and so is swept over stored scores.
GAMMA = "gamma"


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
        attacker_words: words that the attacker's texts are cut to, before a trigger is put in.
    """

    train: int | None = Field(None, ge=2)
    dev: int | None = Field(None, ge=2)
    test: int | None = Field(None, ge=2)
    triggered: int | None = Field(None, ge=1)
    attacker_train: int | None = Field(None, ge=2)
    attacker_dev: int | None = Field(None, ge=2)
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


class GridAttack(AttackEntry):
    """One attack, see `AttackEntry`; or none, with `clean`.

    Attributes:
        clean: nobody poisons anything: the same training on the attacker's clean rows. Its victims also show how many
            triggered rows of the other attacks go to the target by themselves.
        defenses: the entries of `defenses` that stand before it; all when left out.
    """

    clean: bool = False
    defenses: list[str] | None = None

    def _check_origin(self) -> None:
        if not self.clean:
            super()._check_origin()
        elif self.trigger or self.poisoned or self.triggered:
            raise ValueError("clean means that there is no trigger; leave trigger, poisoned and triggered out")


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


class How(Spec):
    """How stages are done: what decides nothing of a result but its last digits, and so is in no stage's name.

    Attributes:
        progress: draw progress bars on stderr.
        report_to: see `GridSpec`.
        processes: that train one model together, each with a GPU of its own where there are GPUs.
        launch_config: an `accelerate` config file to launch them by; without, they are plain data parallel (DDP).
    """

    progress: bool = False
    report_to: str = "none"
    processes: int = Field(1, ge=1)
    launch_config: Path | None = None


class GridSpec(Spec):
    """A grid of experiments; every combination that the entries allow is a cell.

    Attributes:
        title: what its tables are headed with.
        table, figure: the table or figure of the paper that it reruns, if it does.
        datasets, models, attacks, defenses, victims, psim: the axes, by the names that tables give them. `victims` and
            `psim` are settings of a tuning with its `method`; `psim` crosses the defences that are PSIM.
        poison: settings of the attacker's full tuning: fields of `TuneSpec`, and `preset`.
        threshold: how detectors judge.
        sweeps: panels of a figure, by name.
        seeds: the whole grid once for each.
        resources: for a cluster.
        report_to: the Trainer's own trackers (``tensorboard``, ``wandb``, ...); ``none`` tracks nothing.
    """

    title: str
    table: int | None = None
    figure: int | None = None
    datasets: dict[str, DatasetEntry] = Field(min_length=1)
    models: dict[str, ModelEntry] = Field(min_length=1)
    attacks: dict[str, GridAttack] = Field(min_length=1)
    defenses: dict[str, DefenseEntry] = Field(min_length=1)
    victims: dict[str, dict[str, Any]] = Field(min_length=1)
    psim: dict[str, dict[str, Any]] = Field(default={"p_tuning_v1": {"method": "p_tuning_v1"}}, min_length=1)
    poison: dict[str, Any] = Field(default_factory=dict)
    threshold: ThresholdEntry = ThresholdEntry(frr=0.01)
    sweeps: dict[str, Sweep] = Field(default_factory=dict)
    seeds: list[int] = Field(default=[0], min_length=1)
    resources: Resources = Resources()
    report_to: str = "none"

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        """Every name that one part of the file uses is one that another part gives."""
        for name, attack in self.attacks.items():
            _require_known(f"attacks.{name}.defenses", attack.defenses or [], self.defenses)
        for name, defense in self.defenses.items():
            _require_known(f"defenses.{name}.triggered", defense.triggered, self.attacks)
        for name, model in self.models.items():
            _require_known(f"models.{name}.tunings", model.tunings or [], self.victims)
            _require_known(f"models.{name}.victims", model.victims, self.victims)
        for name, sweep in self.sweeps.items():
            _require_known(f"sweeps.{name}.victim", [sweep.victim], self.victims)
        return self

    def all_victims(self) -> dict[str, dict[str, Any]]:
        """The settings of every victim, those of the sweeps beside the plain ones."""
        swept = {
            sweep.named(value): {**self.victims[sweep.victim], sweep.field: value}
            for sweep in self.sweeps.values()
            if sweep.field != GAMMA
            for value in sweep.values
        }
        return {**self.victims, **swept}


def load_grid(path: Path, *, scale: str | None = None, data_root: Path | None = None) -> GridSpec:
    """Read a grid file at one scale.

    Args:
        path: the YAML file. Its section ``scale`` has, by name, what is otherwise at that scale: mappings are merged
            key by key, null takes an entry away, anything else replaces what was there.
        scale: one of those names; None: ``paper`` where there is one, else the file as it stands.
        data_root: what ``{data}`` stands for in it.

    Raises:
        ConfigError: the file cannot be read, has no such scale, a key or name in it is unknown, or it needs a root.
    """
    content = read_mapping(path, "grid; it has to be a YAML mapping with the keys datasets, models, attacks, ...")
    try:
        return make_spec(GridSpec, **with_root(at_scale(content, scale), data_root and data_root.absolute()))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def at_scale(content: dict[str, Any], scale: str | None) -> dict[str, Any]:
    """The file's content with the changes of one scale made.

    Raises:
        ConfigError: there is no such scale, or the section is no mapping of mappings.
    """
    rest = {key: value for key, value in content.items() if key != "scale"}
    scales = content.get("scale") or {}
    if not isinstance(scales, dict) or not all(isinstance(changes, dict | None) for changes in scales.values()):
        raise ConfigError("scale has to be a mapping from names such as small to what is otherwise there")
    if scale is None and "paper" not in scales:
        return rest
    wanted = scale or "paper"
    if wanted not in scales:
        raise ConfigError(f"scale has no {wanted!r}; it has: {', '.join(map(str, scales)) or 'nothing'}")
    merged = _merged(rest, scales[wanted] or {})
    assert isinstance(merged, dict)  # noqa: S101 - two mappings merge to one; for the type checker
    return merged


def _merged(base: Any, changes: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    kept = {key: value for key, value in base.items() if key not in changes}
    new = {key: _merged(base.get(key), value) for key, value in changes.items() if value is not None}
    return {key: new.get(key, kept.get(key)) for key in [*base, *changes] if key in new or key in kept}


def _require_known(where: str, names: Any, known: Any) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"{where} names {', '.join(unknown)}, which is not there; there are: {', '.join(known)}")
