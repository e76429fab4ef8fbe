"""Names, and plug-ins from elsewhere."""

import pytest

from poisonsieve import registry
from poisonsieve.errors import ConfigError


def test_everything_of_the_paper_is_there():
    assert {"badnet", "insent", "multi"} <= set(registry.names("attack"))
    assert "psim" in registry.names("defense")
    assert set(registry.names("tuning")) == {"full", "lora", "prompt_tuning", "p_tuning_v1", "p_tuning_v2"}


@pytest.fixture
def scratch():
    with registry.scratch():
        yield


def test_a_name_can_be_taken_once(scratch):
    @registry.register("attack", "only-once")
    class First:
        pass

    assert registry.get("attack", "only-once") is First
    registry.register("attack", "only-once")(First)
    with pytest.raises(ConfigError, match="twice"):
        registry.register("attack", "only-once")(object())


ALIASES = {
    "attack": {
        "badnets": "badnet",
        "addsent": "insent",
        "synbkd": "synattack-rules",
        "hiddenkiller": "synattack-rules",
    },
    "poisoning": {"ripples": "ripple", "lwp": "layerwise"},
}


@pytest.mark.parametrize("kind", ALIASES)
def test_names_of_the_field_open_ours_and_are_no_names_of_their_own(kind):
    for alias, own in ALIASES[kind].items():
        assert registry.get(kind, alias) is registry.get(kind, own)
        assert alias in registry.aliases_of(kind, own)
        assert alias not in registry.names(kind)
    with pytest.raises(ConfigError, match="unknown poisoning 'badnets'"):
        registry.get("poisoning", "badnets")


def test_what_is_registered_for_a_while_is_forgotten():
    before = registry.names("attack")
    with registry.scratch():
        registry.register("attack", "shout", aliases=["exclaim"])(object())
        assert "shout" in registry.names("attack")
    assert registry.names("attack") == before
    assert registry.own_name("attack", "exclaim") == "exclaim"


def test_a_plug_in_brings_aliases_of_its_own(scratch):
    item = registry.register("attack", "shout", aliases=["exclaim", "yell"])(object())
    registry.register("attack", "shout", aliases=["exclaim"])(item)
    assert registry.get("attack", "yell") is item
    assert registry.aliases_of("attack", "shout") == ["exclaim", "yell"]
    assert registry.own_text("attack", "yell:loud=1") == "shout:loud=1"


@pytest.mark.parametrize(
    ("name", "aliases"),
    [
        ("shout", ["badnet"]),  # is a name
        ("shout", ["badnets"]),  # is an alias of another
        ("shout", ["shout"]),
        ("badnets", []),  # an alias as a name
    ],
)
def test_aliases_that_clash_are_refused_and_change_nothing(name, aliases, scratch):
    before = registry.names("attack")
    with pytest.raises(ConfigError, match=r"'shout' cannot be called|'badnets' is another name of 'badnet'"):
        registry.register("attack", name, aliases=aliases)(object())
    assert registry.names("attack") == before
    assert registry.own_name("attack", "badnets") == "badnet"


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ConfigError, match=r"unknown defense 'pism'; known: .*psim"):
        registry.get("defense", "pism")


def test_an_outside_package_is_found_by_its_entry_point(tmp_path, monkeypatch):
    import subprocess
    import sys

    (tmp_path / "outside.py").write_text(
        "from poisonsieve import register\n"
        "@register('attack', 'from-outside')\n"
        "class T:\n"
        "    def apply(self, text, rng):\n"
        "        return text + ' !'\n"
    )
    info = tmp_path / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[poisonsieve.plugins]\noutside = outside\n")
    code = "from poisonsieve import registry; print(registry.names('attack'))"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path)}
    )
    assert "from-outside" in said.stdout


@pytest.mark.parametrize(
    ("base", "missing"),
    [("detector.Detector", "_fit"), ("network.ModelDetector", "_learn"), ("rewriter.Rewriter", "_rewrite")],
)
def test_an_empty_plug_in_says_what_it_lacks(base, missing):
    """Not when it is used and something is None, but when it is made."""
    import importlib

    module, _, name = base.partition(".")
    kind = getattr(importlib.import_module(f"poisonsieve.defenses.{module}"), name)
    empty = type("Empty", (kind,), {"name": "empty"})
    with pytest.raises(TypeError, match=missing):
        empty("model") if name == "ModelDetector" else empty()
