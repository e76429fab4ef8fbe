"""Names, and plug-ins from elsewhere."""

import pytest

from poisonsieve import registry
from poisonsieve.errors import ConfigError


def test_everything_of_the_paper_is_there():
    assert {"badnet", "insent", "multi"} <= set(registry.names("attack"))
    assert "psim" in registry.names("defense")
    assert set(registry.names("tuning")) == {"full", "lora", "prompt_tuning", "p_tuning_v1", "p_tuning_v2"}


def test_a_name_can_be_taken_once():
    @registry.register("attack", "only-once")
    class First:
        pass

    try:
        assert registry.get("attack", "only-once") is First
        registry.register("attack", "only-once")(First)
        with pytest.raises(ConfigError, match="twice"):
            registry.register("attack", "only-once")(object())
    finally:
        del registry._entries["attack"]["only-once"]


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
