"""Every grid that ships: loaded and expanded at every scale, and its cells counted against the paper's."""

import csv
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from poisonsieve.bench.checks import check
from poisonsieve.bench.show.table import published_for, published_table
from poisonsieve.bench.spec import expand, load_grid

CONFIGS = files("poisonsieve.bench") / "configs"
TABLES = sorted(CONFIGS.glob("table*.yaml"))
GRIDS = [*TABLES, *sorted(CONFIGS.glob("fig*.yaml"))]
SCALES = ("paper", "base", "small", "packaged")
#: Cells at each scale: those of the paper at `paper`; fewer models at `base` (no small MPT) and `small` (MiniLM alone); two
#: victims and no slow rewriters at `packaged`.
CELLS = {
    "table01": (224, 224, 80, 20),
    "table02": (224, 224, 80, 20),
    "table03": (30, 30, 30, 12),
    "table04": (224, 224, 80, 20),
    "table05": (224, 224, 80, 20),
    "table06": (224, 224, 80, 20),
    "table07": (224, 224, 80, 20),
    "table08": (35, 35, 35, 14),
    "table09": (20, 20, 20, 8),
    "table10": (56, 28, 28, 10),
    "fig1": (2, 2, 2, 2),
    "fig3": (32, 32, 22, 16),
    "fig4": (42, 42, 28, 22),
}


def test_the_paper_has_ten_tables_and_three_figures_of_experiments():
    assert [path.stem for path in GRIDS] == [*(f"table{n:02}" for n in range(1, 11)), "fig1", "fig3", "fig4"]


def write_rewritten(root):
    """The one file that a trigger reads at once, and what it rewrites."""
    (root / "sst2/synattack").mkdir(parents=True)
    text = '{"sentence": "when it ends , it is a film", "label": 0}\n'
    (root / "sst2/synattack/train_scpn.jsonl").write_text(text)
    (root / "sst2/train.jsonl").write_text('{"sentence": "a film", "label": 0}\n')


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_a_grid_that_ships_is_sound_and_has_its_cells(path, scale, tmp_path):
    """Names, keys and tunings; the rows themselves are looked at when it runs."""
    write_rewritten(tmp_path)
    grid = load_grid(path, scale=scale, data_root=tmp_path)
    kinds = check(grid).kinds
    assert kinds["none"] == "none"
    assert set(kinds.values()) <= {"none", "rewriter", "repair", "detector"}
    cells = expand(grid)
    assert len(set(cells)) == len(cells) == CELLS[path.stem][SCALES.index(scale)]


@pytest.mark.parametrize(("table", "cells"), [*((f"table{n:02}", 208) for n in (1, 2, 4, 5, 6, 7)), ("table10", 36)])
def test_at_4_bits_7b_models_have_every_cell_but_those_of_full_tuning(table, cells, tmp_path):
    content = yaml.safe_load((CONFIGS / f"{table}.yaml").read_text())
    write_rewritten(tmp_path)
    grid = load_grid(CONFIGS / f"{table}.yaml", scale="paper-4bit", data_root=tmp_path)
    check(grid)
    assert {name for name, model in grid.models.items() if model.bits} == {*content["models"]} & {
        "LLaMA",
        "Vicuna",
        "MPT",
    }
    found = expand(grid)
    assert not [cell for cell in found if grid.models[cell.model].bits and cell.victim == "full"]
    assert len(found) == cells


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_cell_of_a_table_is_one_that_the_paper_prints_and_the_other_way_round(path, tmp_path):
    grid = load_grid(path, scale="paper", data_root=tmp_path)
    found = [
        published_for(
            grid.table,
            model=cell.model,
            attack=cell.attack,
            defense=cell.defense,
            victim=cell.victim,
            variant=cell.variant,
        )
        for cell in expand(grid)
    ]
    assert None not in found
    assert len(found) == len(published_table(grid.table))
    (dataset,) = grid.datasets
    rows = [row for row in published_rows() if row["table"] == str(grid.table)]
    assert {row["dataset"] for row in rows} == {dataset}
    assert {row["setting"] for row in rows} <= {grid.datasets[dataset].setting, ""}


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_small_figures_stand_beside_a_model_of_the_paper(path, tmp_path):
    grid = load_grid(path, scale="small", data_root=tmp_path)
    for model in grid.models.values():
        assert model.model == "minilm"
        if grid.table:
            assert model.beside in {key[0] for key in published_table(grid.table)}


def published_rows():
    text = files("poisonsieve.bench").joinpath("published/tables.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


def test_the_published_figures_are_whole():
    rows = published_rows()
    assert len(rows) == 1485
    counts = Counter(row["table"] for row in rows)
    assert counts == {**dict.fromkeys("124567", 224), "3": 30, "8": 35, "9": 20, "10": 56}
    values = [float(row[rate]) for row in rows for rate in ("ca", "asr") if row[rate]]
    assert all(0 <= value <= 100 for value in values)
    assert published_table(1)["BERT", "BadNet", "psim", "full", "p_tuning_v1"].asr == 4.65


def test_scales_change_what_they_name_and_nothing_else():
    content = yaml.safe_load((CONFIGS / "table01.yaml").read_text())
    paper = load_grid(CONFIGS / "table01.yaml", scale="paper", data_root=Path("/data"))
    assert load_grid(CONFIGS / "table01.yaml", data_root=Path("/data")) == paper
    assert paper.model_dump()["poison"] == content["poison"]
