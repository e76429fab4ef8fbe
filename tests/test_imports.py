"""The package's modules import one another in one direction, within a layer too, and in functions as at the top."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import poisonsieve

ROOT = Path(poisonsieve.__file__).parent


def name_of(path: Path) -> str:
    parts = (ROOT.name, *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in ROOT.rglob("*.py")}


def imported(node: ast.AST, modules) -> Iterator[str]:
    """Modules that the code imports anywhere in it, but for what only a type checker reads."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for other in node.orelse:
            yield from imported(other, modules)
        return
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names if name.name in modules)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        for name in node.names:
            inside = f"{node.module}.{name.name}"
            yield from (found for found in (inside if inside in modules else node.module,) if found in modules)
    for child in ast.iter_child_nodes(node):
        yield from imported(child, modules)


def require_no_circle(sources: dict[str, str]) -> None:
    graph = {name: set(imported(ast.parse(text), sources)) - {name} for name, text in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these modules import one another: {' <- '.join(error.args[1])}")


def test_no_module_imports_itself_by_way_of_others():
    require_no_circle({name: path.read_text(encoding="utf-8") for name, path in MODULES.items()})


def test_a_circle_is_seen_wherever_its_imports_stand():
    lazy = "def f():\n    from p import a\n"
    with pytest.raises(pytest.fail.Exception, match="import one another: p"):
        require_no_circle({"p": "", "p.a": "import p.b", "p.b": lazy})
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import x\n"
    require_no_circle({"p": "", "p.a": "import p.b", "p.b": typed})
