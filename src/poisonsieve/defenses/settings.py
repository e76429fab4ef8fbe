"""Settings of a defence: annotated class attributes, from which the constructor is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, dataclass_transform

from pydantic import Field
from sklearn.base import BaseEstimator

from poisonsieve.building import check_arguments

AtLeastOne = Annotated[int, Field(ge=1)]
#: Below 1, since some is to be left; above 0, since nothing would happen.
Share = Annotated[float, Field(gt=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
class Settings(BaseEstimator):  # type: ignore[misc]
    """Base of the defences: subclasses become dataclasses automatically, with scikit-learn's conventions.

    An annotated class attribute is a setting, given by keyword; its annotation is checked in Python as on the command
    line, range included (``copies: AtLeastOne = 10``). Values are stored untouched, so `clone` and `get_params` work.
    A class with a constructor of its own keeps that, unchecked.
    """

    name: ClassVar[str]
    _own_constructor: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._own_constructor = cls._own_constructor or "__init__" in vars(cls)
        dataclass(init=not cls._own_constructor, eq=False, repr=False, kw_only=True)(cls)

    def __post_init__(self) -> None:
        check_arguments(self)
