"""Specs: frozen, validated descriptions of everything that is trained.

A spec contains everything that determines a result, so its hash identifies that result. An unknown key is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from poisonsieve import registry
from poisonsieve.errors import ConfigError
from poisonsieve.storage import canonical_hash

Precision = Literal["auto", "fp32", "bf16"]


class ByContent:
    """A marker for a setting that names a file, a folder or a model: ``words: Annotated[Path, ByContent]``.

    Its content affects a result, not its name. So wherever results are cached by their settings, the digest of the
    content is used, and the same file under another name is the same setting.
    """


#: A file, a folder or a model, by its path or by another name.
Source = Annotated[str | Path, ByContent]


@dataclass(frozen=True)
class PlugInText:
    """A marker for a text form such as ``badnet:word=cf``; the plug-in's constructor marks its `ByContent` arguments."""

    kind: registry.Kind


#: Text forms as fields of other specs, with aliases resolved.
TriggerText = Annotated[str, AfterValidator(partial(registry.own_text, "attack")), PlugInText("attack")]
PoisoningText = Annotated[str, AfterValidator(partial(registry.own_text, "poisoning")), PlugInText("poisoning")]
DefenseText = Annotated[str, AfterValidator(partial(registry.own_text, "defense")), PlugInText("defense")]


def name_of(text: str) -> str:
    """Return the name in a text form such as ``badnet:word=cf``."""
    return text.partition(":")[0]


def with_arguments(text: str, arguments: Mapping[str, Any]) -> str:
    """Add arguments to a plug-in's text form.

    Raises:
        ConfigError: a value cannot be written as text.
    """
    more = ",".join(f"{key}={_written(key, value)}" for key, value in arguments.items())
    return text + ("," if ":" in text else ":") + more


def without_arguments(text: str, arguments: Sequence[str]) -> str:
    """Remove arguments from a plug-in's text form."""
    name, colon, rest = text.partition(":")
    kept = [part for part in rest.split(",") if part.partition("=")[0].strip() not in arguments]
    return name + (colon + ",".join(kept) if any(kept) else "")


def _written(key: str, value: Any) -> str:
    """Return an argument's value as it is written in a text form."""
    if isinstance(value, list):
        return "+".join(_written(key, part) for part in value)
    text = str(value).lower() if isinstance(value, bool | None) else str(value)
    if isinstance(value, dict) or "," in text:
        raise ConfigError(f"{key}: {text} cannot be an argument here; give one value without a comma, or a list")
    return text


class Spec(BaseModel):
    """Base class of all specs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """Return a hex sha256 that is equal for equal specs, whatever the order of their keys."""
        return canonical_hash(self.model_dump(mode="json"))


S = TypeVar("S", bound=Spec)


def make_spec(kind: type[S], **values: Any) -> S:
    """Build a spec from keyword arguments.

    Raises:
        ConfigError: a value is invalid; the message is one line that names each offending key.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        raise ConfigError("; ".join(_problem(problem) for problem in error.errors())) from None


def _problem(problem: Any) -> str:
    """Describe a problem as `key: message, not value`; messages of our own validators stand alone."""
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return str(message)
    name = ".".join(str(part) for part in problem["loc"])
    return f"{name}: {message[:1].lower()}{message[1:]}, not {str(problem['input'])[:40]!r}"


class NamedSpec(Spec):
    """A plug-in by its registered name, with its own arguments.

    On the command line it is written as ``name`` or ``name:key=value,key=value``. An alias is replaced by the name it
    stands for, so that the spec and its digest are the same.
    """

    kind: ClassVar[str]
    registered_as: ClassVar[registry.Kind]
    example: ClassVar[str]
    name: str
    params: dict[str, str | int | float] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _own_name(cls, name: str) -> str:
        return registry.own_name(cls.registered_as, name)

    @field_validator("params")
    @classmethod
    def _own_names_within(
        cls, params: dict[str, str | int | float], info: ValidationInfo
    ) -> dict[str, str | int | float]:
        name = str(info.data.get("name"))
        return {key: registry.own_value(cls.registered_as, name, key, value) for key, value in params.items()}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name`` or ``name:key=value,key=value``.

        Raises:
            ConfigError: a part after the colon is not ``key=value``, or a key occurs twice.
        """
        name, _, rest = text.partition(":")
        params: dict[str, str | int | float] = {}
        for part in filter(None, rest.split(",")):
            key, equals, value = part.partition("=")
            if not equals:
                raise ConfigError(f"{cls.kind} {text!r}: {part!r} is not key=value (example: {cls.example})")
            if key.strip() in params:
                raise ConfigError(f"{cls.kind} {text!r}: {key.strip()} stands twice; one value would hide another")
            params[key.strip()] = value
        return cls(name=name, params=params)


class TriggerSpec(NamedSpec):
    """A trigger, such as ``badnet:word=cf``."""

    kind: ClassVar[str] = "trigger"
    registered_as: ClassVar[registry.Kind] = "attack"
    example: ClassVar[str] = "badnet:word=cf"


class PoisoningSpec(NamedSpec):
    """How the weights are trained on the triggered rows, such as ``ripple:strength=0.1``."""

    kind: ClassVar[str] = "poisoning"
    registered_as: ClassVar[registry.Kind] = "poisoning"
    example: ClassVar[str] = "ripple:strength=0.1"
    name: str = "full"


class AttackSpec(Spec):
    """Which rows are triggered, what they are relabelled to, and how the weights are trained on them.

    Attributes:
        trigger: the trigger to put into a text.
        target: the class (0 ... K-1) that the attacker wants.
        count: the poison count, in rows. Exactly one of `count` and `rate` is given.
        rate: the poison count as a share of the whole training set, in (0, 1].
        clean_label: trigger only rows that already carry `target`, and change no label (the paper's setting).
            Off: trigger rows of the other classes and relabel them to `target`.
        select: ``random`` rows, or the ``first`` that qualify (what the released scripts do).
        seed: seed for the choice of rows and the places of triggers.
        weights: the training objective; the paper's plain full tuning by default.
    """

    trigger: TriggerSpec
    target: int = Field(0, ge=0)
    count: int | None = Field(None, ge=1)
    rate: float | None = Field(None, gt=0, le=1)
    clean_label: bool = True
    select: Literal["random", "first"] = "random"
    seed: int = Field(0, ge=0, lt=2**32)
    weights: PoisoningSpec = PoisoningSpec()

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.count is None) == (self.rate is None):
            raise ValueError("give exactly one of count and rate")
        return self

    @model_serializer(mode="wrap")
    def _plain_is_left_out(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit plain poisoning, so that its digest stays the one from before other methods existed."""
        values: dict[str, Any] = serialize(self)
        if self.weights == PoisoningSpec():
            del values["weights"]
        return values


class TuneSpec(Spec):
    """How a classifier is trained: attacker, victim and PSIM share it.

    Attributes:
        method: name of a tuning; every tuning also trains the classification head.
        epochs: passes over the training rows.
        learning_rate: peak of a linear schedule with warm-up.
        batch_size: rows per step.
        max_length: number of tokens to which a text is truncated; capped by the model's limit minus virtual tokens.
        warmup: share of the steps over which the learning rate rises.
        weight_decay: AdamW's weight decay.
        virtual_tokens: prompt length of prompt tuning and P-tuning v1 / v2, in tokens.
        encoder_hidden: width of P-tuning v1's prompt encoder.
        lora_rank, lora_alpha, lora_dropout: LoRA's r, alpha and dropout.
        precision: ``bf16`` trains with bf16 autocast over fp32 weights; ``auto`` does so if the hardware has bf16
            arithmetic. Scoring is always in fp32.
        seed: seed of initial weights, row order and dropout.
    """

    method: str
    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    batch_size: int = Field(32, ge=1, le=10**6)
    max_length: int = Field(256, ge=8)
    warmup: float = Field(0.06, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    virtual_tokens: int = Field(5, ge=1)
    encoder_hidden: int = Field(128, ge=1)
    lora_rank: int = Field(8, ge=1)
    lora_alpha: int = Field(16, ge=1)
    lora_dropout: float = Field(0.1, ge=0, lt=1)
    precision: Precision = "auto"
    seed: int = Field(0, ge=0, lt=2**32)

    @field_validator("method")
    @classmethod
    def _is_registered(cls, method: str) -> str:
        known = registry.names("tuning")
        if method not in known:
            raise ValueError(f"there is no such tuning; choose from: {', '.join(known)}")
        return method
