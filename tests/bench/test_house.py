"""The laboratory's house: one folder of what runs, one of what shows results, and neither grows without being noticed."""

from pathlib import Path

import poisonsieve.bench

ROOT = Path(poisonsieve.bench.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def test_it_is_flat_and_small():
    assert {path.parent.relative_to(ROOT).as_posix() for path in FILES} == {".", "show"}
    assert len(FILES) <= 22
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES) <= 4000
