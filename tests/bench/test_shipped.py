"""Experiments by name, and the data root they need."""

from pathlib import Path

import pytest

from poisonsieve.bench.checks import check
from poisonsieve.bench.comparison import load_comparison
from poisonsieve.bench.entries import GridRows as Rows
from poisonsieve.bench.fingerprints import Fingerprints
from poisonsieve.bench.plan import make_plan
from poisonsieve.bench.spec import PACKAGED, expand, load_grid
from poisonsieve.cli.experiments import find_config, require_rows, shipped_names
from poisonsieve.errors import ConfigError


def test_names():
    assert shipped_names("grid") == [
        "core",
        "fig1",
        "fig3",
        "fig4",
        *(f"table{number:02}" for number in range(1, 11)),
    ]
    assert "cr-fdk" in shipped_names("comparison")
    for kind in ("grid", "comparison"):
        for name in shipped_names(kind):
            assert find_config(Path(name), kind).read_text(encoding="utf-8")


def test_a_file_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("table01").mkdir()  # what `--out table01` leaves is no file
    assert find_config(Path("table01"), "grid").suffix == ".yaml"
    Path("table01").rmdir()
    Path("table01").write_text("title: mine")
    assert find_config(Path("table01"), "grid") == Path("table01")


@pytest.mark.parametrize("given", ["tabel01", "configs/table01", "table01.yaml", "cr-fdk"])
def test_neither_file_nor_name(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is neither a file nor the name of a grid; choose from: core, fig1, fig3"):
        find_config(Path(given), "grid")


def test_a_root_that_is_not_there(tmp_path):
    root = tmp_path / "DATA"
    rows = Rows(train=f"{root}/sst2/train.jsonl", dev=f"{root}/sst2/dev.jsonl")
    with pytest.raises(ConfigError, match=r"DATA: no such folder; .* data fetch sst2 --out .*DATA$"):
        require_rows([rows, None], root)


def test_rows_that_are_missing_are_named_and_how_to_fetch_them(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.jsonl").touch()
    rows = Rows(train=f"{tmp_path}/mine/train.jsonl", dev=f"{tmp_path}/mine/dev.jsonl")
    with pytest.raises(ConfigError, match=r"lacks mine/dev\.jsonl$"):
        require_rows([rows], tmp_path)
    with pytest.raises(ConfigError, match=r"lacks imdb/train\.jsonl, imdb/dev\.jsonl; .* data fetch imdb --out"):
        require_rows([Rows(train=f"{tmp_path}/imdb/train.jsonl#a", dev=f"{tmp_path}/imdb/dev.jsonl")], tmp_path)


def test_names_that_are_no_paths_are_not_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    require_rows([Rows(train="packaged:product-reviews", dev="hub:sst2#dev")], Path())
    require_rows([Rows(train="/elsewhere/train.jsonl", dev="/elsewhere/dev.jsonl")], tmp_path)


@pytest.mark.parametrize("command", [("bench", "run", "table01"), ("compare", "cr-fdk")])
def test_nothing_starts_without_the_data(command, cli, tmp_path):
    out = tmp_path / "out"
    code, _, err = cli(*command, "--data-root", str(tmp_path / "DATA"), "--out", str(out))
    assert code == 2
    assert "DATA: no such folder; to fetch what is available: poisonsieve data fetch" in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_no_root_at_all(cli, tmp_path):
    code, _, err = cli("compare", "cr-fdk", "--out", str(tmp_path / "out"))
    assert code == 2
    assert "say where that is with --data-root" in err
    assert "or run it on packaged data with --scale packaged" in err


def packaged_experiments():
    for kind in ("grid", "comparison"):
        for name in shipped_names(kind):
            yield pytest.param(kind, name, id=name)


@pytest.mark.parametrize(("kind", "name"), packaged_experiments())
def test_every_experiment_can_be_run_without_data_of_ones_own(kind, name, tmp_path):
    """At scale `packaged` it is planned without a data root, and reads nothing but packaged rows."""
    path = find_config(Path(name), kind)
    grid = load_grid(path, scale=PACKAGED) if kind == "grid" else load_comparison(path, scale=PACKAGED).grid()
    plan = make_plan(grid, expand(grid), check(grid), Fingerprints(tmp_path / "fingerprints.json"))
    assert {stage.kind for stage in plan.stages} >= {"theta_p", "victim", "answers"}
    sources = {source for stage in plan.stages for source in sources_in(stage.params)}
    assert sources
    assert all(source.startswith("packaged:") for source in sources)
    assert {model.model for model in grid.models.values()} == {"minilm"}


def sources_in(params):
    """Where rows come from: the `source` and `file` of every description of rows."""
    for key, value in params.items():
        if isinstance(value, dict):
            yield from sources_in(value)
        elif key in ("source", "file", "poisoned", "triggered") and value is not None:
            yield value
