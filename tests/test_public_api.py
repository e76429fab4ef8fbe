"""The public names: all there, documented, and imported only when they are used."""

import importlib
import inspect
import subprocess
import sys

import pytest

import poisonsieve

HEAVY = ("torch", "transformers", "peft", "datasets", "pandas", "sklearn")


def modules_after(code: str) -> set[str]:
    """The heavy libraries that are loaded in a fresh interpreter after `code`."""
    report = f"import sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=120, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert modules_after("import poisonsieve; dir(poisonsieve); poisonsieve.__all__") == set()


@pytest.mark.parametrize("name", ["register", "PoisonsieveError", "fixed_gamma", "gamma_for_frr"])
def test_light_names_stay_light(name):
    assert modules_after(f"from poisonsieve import {name}") == set()


def test_each_name_is_listed_once_and_has_a_home():
    assert len(set(poisonsieve.__all__)) == len(poisonsieve.__all__)
    assert set(poisonsieve.__all__) == set(poisonsieve._HOMES)
    assert set(poisonsieve.__all__) <= set(dir(poisonsieve))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'guard_everything'"):
        poisonsieve.guard_everything  # noqa: B018


@pytest.mark.parametrize("name", poisonsieve.__all__)
def test_a_public_name_is_what_its_home_exports(name):
    item = getattr(poisonsieve, name)
    home = importlib.import_module(f"poisonsieve.{poisonsieve._HOMES[name]}")
    assert getattr(home, name) is item
    exported = getattr(home, "__all__", None)
    assert exported is None or name in exported


@pytest.mark.parametrize("name", poisonsieve.__all__)
def test_a_public_name_has_a_docstring_and_so_has_each_public_method(name):
    item = getattr(poisonsieve, name)
    assert own_doc(item), name
    if inspect.isclass(item):
        undocumented = [
            member
            for base in item.__mro__
            if base.__module__.startswith("poisonsieve.")
            for member, value in vars(base).items()
            if not member.startswith("_") and documentable(value) and not own_doc(value)
        ]
        assert undocumented == [], name


@pytest.mark.parametrize("name", poisonsieve.__all__)
def test_arguments_and_results_are_annotated(name):
    item = getattr(poisonsieve, name)
    function = item.__init__ if inspect.isclass(item) else item
    if not inspect.isfunction(function):
        return  # an exception that adds nothing to Exception
    missing = [
        argument.name
        for argument in inspect.signature(function).parameters.values()
        if argument.name != "self" and argument.annotation is inspect.Parameter.empty
    ]
    assert missing == [], name


def own_doc(item: object) -> str:
    """The docstring written on the item itself; a dataclass's generated one does not count."""
    doc = (getattr(item, "__doc__", None) or "").strip()
    return "" if doc.startswith(f"{getattr(item, '__name__', '')}(") else doc


def documentable(value: object) -> bool:
    return inspect.isfunction(value) or isinstance(value, (property, classmethod, staticmethod))
