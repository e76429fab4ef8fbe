"""The package stays readable: short functions throughout, and a laboratory that does not grow without being noticed."""

import ast
from pathlib import Path

import pytest
import typer

import poisonsieve
from poisonsieve.cli.main import app

ROOT = Path(poisonsieve.__file__).parent
LONGEST = 60


def commands(of: typer.Typer) -> set[str]:
    """Names of the functions behind commands, which have an argument for every option."""
    inside = [commands(group.typer_instance) for group in of.registered_groups]
    return {command.callback.__name__ for command in of.registered_commands}.union(*inside)


def long_functions(source: str) -> list[str]:
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST
    ]


@pytest.mark.parametrize("path", ROOT.rglob("*.py"), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_function_is_long(path):
    spared = commands(app) if path.parent.name == "cli" else set()
    assert not set(long_functions(path.read_text(encoding="utf-8"))) - spared


def test_the_laboratory_is_flat_and_small():
    """One folder of what runs, and one of what shows results."""
    files = sorted((ROOT / "bench").rglob("*.py"))
    assert {path.parent.relative_to(ROOT / "bench").as_posix() for path in files} == {".", "show"}
    assert len(files) <= 22
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) <= 4000


def test_what_a_command_does_is_short_too():
    """What follows the options and the help; `screen` has two ways, with one table of options."""
    long = {
        f"{path.stem}: {node.name}": node.end_lineno - node.body[1].lineno + 1
        for path in (ROOT / "cli").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and len(node.body) > 1
    }
    assert {name: lines for name, lines in long.items() if lines > LONGEST} == {}


def test_a_long_function_is_seen():
    lines = "    pass\n" * LONGEST
    assert long_functions(f"class A:\n  async def f():\n{lines}") == ["f"]
    assert long_functions(f"def f():\n{lines[9:]}") == []
