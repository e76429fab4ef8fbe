"""Tables, figures and the report of results that are made up, so that every figure in them is known."""

import csv
import io
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from poisonsieve.bench.results import read_results
from poisonsieve.bench.show.drawing import draw
from poisonsieve.bench.show.rendering import heads, lines, to_csv, to_latex, to_markdown
from poisonsieve.bench.show.table import failures, make_table
from poisonsieve.bench.spec import expand, load_grid
from poisonsieve.errors import ConfigError

CONFIGS = files("poisonsieve.bench") / "configs"


def metrics(ca, asr=None):
    rates = {"ca": ca} if asr is None else {"ca": ca, "asr": asr}
    return {**rates, "intervals": {name: [value - 0.1, value + 0.05] for name, value in rates.items()}}


def made_up(config="table01", *, seeds=(0,), scale="small", **changes):
    """Results of a grid that ships, in which every cell has CA 0.8 + seed / 100 and ASR 0.25."""
    grid = load_grid(CONFIGS / f"{config}.yaml", scale=scale, data_root=Path("/data"))
    grid = grid.model_copy(update={"seeds": list(seeds), **changes})
    cells = []
    for cell in expand(grid):
        found = metrics(0.8 + cell.seed / 100, None if cell.attack == "normal" else 0.25)
        swept = {
            f"{name}={value}": metrics(0.7, 0.1) for name, sweep in grid.sweeps.items() for value in sweep.values
        }
        cells.append(
            {**cell.model_dump(), "status": "done", "metrics": found, "swept": swept, "environment": {"python": "3"}}
        )
    return {"format_version": 1, "title": grid.title, "grid": grid.model_dump(mode="json"), "cells": cells}


def cell_of(results, **axes):
    (found,) = [cell for cell in results["cells"] if axes.items() <= cell.items()]
    return found


def test_the_layout_is_the_papers():
    table = make_table(made_up())
    assert heads(table)[:7] == [
        "model",
        "scenario",
        "method",
        "Full-tuning CA",
        "Full-tuning ASR",
        "LoRA CA",
        "LoRA ASR",
    ]
    rows = lines(table)
    assert [row[1:3] for row in rows[:6]] == [
        ["Normal", "Normal"],
        ["BadNet", "Attack"],
        ["BadNet", "Back Tr."],
        ["BadNet", "ONION"],
        ["BadNet", "SCPD"],
        ["BadNet", "PSIM"],
    ]
    assert rows[0][3:5] == ["80.0", "-"]
    assert rows[1][3:5] == ["80.0", "25.0"]
    assert len(rows) == 16


def test_a_data_set_has_its_name_in_tables_and_figures():
    from poisonsieve.bench.show.drawing import draw

    assert {row.dataset for row in make_table(made_up()).rows} == {"sst2"}
    assert {row.dataset for row in make_table(made_up(scale="packaged")).rows} == {"movie reviews"}
    (axes,) = draw(made_up("fig1", scale="packaged")).axes
    assert axes.get_title() == "MiniLM, movie reviews"


def test_beside_each_figure_stands_the_papers_and_the_difference():
    table = make_table(made_up())
    shown = lines(table, compare=True)
    assert shown[1][3:5] == ["80.0 (93.1, -13.1)", "25.0 (77.6, -52.6)"]  # Table 1, BERT, BadNet, full tuning
    assert shown[5][7:9] == ["80.0 (89.1, -9.1)", "25.0 (7.8, +17.2)"]  # PSIM, prompt tuning
    assert "MiniLM beside BERT: a different model" in to_markdown(table, compare=True)


def test_data_that_stand_in_for_the_papers_are_said_to_be_others():
    said = "movie reviews beside sst2: different data"
    table = make_table(made_up(scale="packaged"))
    assert f"Expect other values than the paper's (MiniLM beside BERT: a different model; {said})." in to_markdown(
        table, compare=True
    )
    assert said not in to_markdown(table)
    assert "different data" not in to_markdown(make_table(made_up()), compare=True)
    assert said in draw(made_up("fig1", scale="packaged")).get_supxlabel()
    assert make_table(made_up("table05", scale="packaged")).beside == [], "nothing published stands beside it"


def test_seeds_give_a_mean_and_its_interval():
    table = make_table(made_up(seeds=(0, 1, 2)))
    figure = table.rows[1].rates["lora"]["ca"]
    assert figure.value == pytest.approx(81.0)
    assert figure.spread == pytest.approx(4.302653 * 1.0 / 3**0.5, rel=1e-5)  # t(0.975, 2), standard deviation 1
    assert figure.text() == "81.0 ±2.5"
    assert "Means over 3 seeds" in to_markdown(table)
    one = make_table(made_up()).rows[1].rates["lora"]["ca"]
    assert (one.low, one.high, one.spread) == (pytest.approx(70.0), pytest.approx(85.0), None)


def test_what_failed_and_what_is_not_done_yet_is_said():
    results = made_up()
    broken = cell_of(results, attack="BadNet", defense="onion", victim="lora")
    broken |= {"status": "failed", "error": "no apertium"}
    cell_of(results, attack="BadNet", defense="onion", victim="full")["status"] = "waiting"
    row = lines(make_table(results), compare=True)[3]
    assert row[3].startswith("waiting (")
    assert row[5].startswith("failed (90.5")
    assert failures(results) == ["no apertium (1 of 80 cells)"]


def test_csv_has_a_line_a_cell_with_intervals_and_the_papers_figures():
    rows = list(csv.DictReader(io.StringIO(to_csv(make_table(made_up())))))
    assert len(rows) == 80
    found = next(
        row for row in rows if (row["attack"], row["defense"], row["victim_tuning"]) == ("BadNet", "none", "full")
    )
    assert found == {
        **dict(table="1", dataset="sst2", setting="full_task", model="MiniLM", attack="BadNet", defense="none"),  # noqa: C408
        **dict(victim_tuning="full", variant="", state="done"),  # noqa: C408
        **dict(ca="80.00", ca_low="70.00", ca_high="85.00", ca_published="93.06", ca_difference="-13.06"),  # noqa: C408
        **dict(asr="25.00", asr_low="15.00", asr_high="30.00", asr_published="77.63", asr_difference="-52.63"),  # noqa: C408
    }


def test_latex_is_whole_and_escapes_what_it_has_to():
    results = made_up(title="50% & more_or_less")
    text = to_latex(make_table(results), compare=True)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows[1:]} == {12}
    assert r"50\% \& more\_or\_less" in text
    assert r"\multirow[t]{16}{*}{MiniLM}" in text
    assert r"\multirow[t]{5}{*}{BadNet}" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2


def test_several_tunings_of_psim_are_told_apart():
    methods = [row[2] for row in lines(make_table(made_up("table03")))]
    assert methods == [
        "Attack",
        *(f"PSIM ({name})" for name in ("Full-tuning", "LoRA", "Prompt-tuning", "P-tuning v1", "P-tuning v2")),
    ]


def test_markdown_has_as_many_columns_in_every_row():
    body = [line for line in to_markdown(make_table(made_up())).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in body}) == 1
    assert len(body) == 18


@pytest.mark.parametrize(("config", "panels"), [("fig3", 4), ("fig4", 4), ("fig1", 1), ("table01", 1)])
def test_figures_have_their_panels_and_lines(config, panels):
    drawing = draw(made_up(config))
    drawn = [axes for axes in drawing.axes if axes.get_visible()]
    assert len(drawn) == panels
    if config.startswith("fig3"):
        gamma = drawn[3]
        assert [label.get_text() for label in gamma.get_xticklabels()] == ["0.6", "0.65", "0.7", "0.75", "0.8"]
        by_name = {line.get_label(): list(line.get_ydata()) for line in gamma.get_lines()}
        assert by_name["CA"] == pytest.approx([80.0] * 5)  # no defence: no gamma has a say
        assert by_name["ASR w/D"] == pytest.approx([10.0] * 5)
    if config in ("fig1", "table01"):
        assert sorted(round(bar.get_height()) for bar in drawn[0].patches) == [25, 25, 80, 80]


def test_nothing_to_draw_is_said():
    with pytest.raises(ConfigError, match="nothing to draw"):
        draw(made_up("table09"))


@pytest.fixture
def store(tmp_path):
    """A store with the results of two grids."""
    for config in ("table01", "fig3"):
        folder = tmp_path / "store/grids" / config
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(made_up(config)))
    return tmp_path / "store"


def test_the_commands_show_what_was_measured(store, tmp_path, cli):
    code, shown, said = cli("bench", "table", store / "grids/table01", "--compare")
    assert code == 0, said
    assert "93.1, -13.1" in shown.replace("\n", " ")
    for option, start in (("--markdown", "## Table 1"), ("--csv", "table,dataset"), ("--latex", "% needs")):
        assert cli("bench", "table", store / "grids/table01", option)[1].startswith(start)
    assert json.loads(cli("bench", "table", store, "--json")[1])["tables"][1]["table"] == 1
    assert cli("bench", "table", store, "--csv", "--latex")[0] == 2
    assert cli("bench", "figure", store / "grids/fig3", "--out", tmp_path / "f.png")[0] == 0
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    code, _, said = cli("bench", "figure", store, "--out", tmp_path / "f.png")
    assert (code, "2 grids" in said) == (2, True)
    assert cli("bench", "figure", store / "grids/fig3", "--out", tmp_path / "f.gif")[0] == 2


def test_the_report_is_one_file_with_everything_in_it(store, tmp_path, cli):
    assert cli("bench", "report", store, "--out", tmp_path / "r.html", "--title", "<b>mine</b>")[0] == 0
    page = (tmp_path / "r.html").read_text()
    assert "&lt;b&gt;mine&lt;/b&gt;" in page
    assert page.count("data:image/svg+xml;base64,") == 4  # two figures, light and dark
    assert "93.1, -13.1" in page
    assert "preset: default" in page  # the settings
    assert "cells: 80" in page  # where they were measured
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_what_holds_no_results_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has no results\.json"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ConfigError, match="is not a results file of a grid"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text('{"format_version": 99}')
    with pytest.raises(ConfigError, match="format version 99"):
        read_results(tmp_path)


def selected(**axes):
    """Results after `--only`: all other cells wait."""
    results = made_up(seeds=(0, 1, 2))
    for cell in results["cells"]:
        if not axes.items() <= cell.items():
            cell["status"] = "waiting"
            del cell["metrics"]
    return results


def drawn(results, width, *, wide=False):
    from rich.console import Console

    from poisonsieve.cli.grid_tables import grid_tables

    out = Console(width=width, file=io.StringIO())
    tables = grid_tables(make_table(results), out, compare=True, wide=wide)
    for table in tables:
        out.print(table)
    return len(tables), out.file.getvalue()


@pytest.mark.parametrize(("width", "tables"), [(100, 5), (140, 3), (400, 1)])
def test_a_narrow_terminal_gets_whole_columns_one_below_the_other(width, tables):
    count, text = drawn(made_up(seeds=(0, 1, 2)), width)
    assert count == tables
    assert max(map(len, text.splitlines())) <= width
    assert "\u2026" not in text
    assert text.count("81.0 \u00b12.5 (93.1, -12.1)") == 1  # whole, and once
    for name in ("Full-tuning", "Prompt-tuning", "P-tuning v2", "ASR", "Back Tr."):
        assert name in text


def test_cells_that_were_not_selected_are_not_shown_as_waiting():
    _, text = drawn(selected(attack="BadNet", victim="lora"), 100)
    assert "waiting" not in text and "LoRA" in text
    assert "InSent" not in text and "Full-tuning" not in text
    assert "Not shown: 75 of 80 cells, which have not been run." in " ".join(text.split())
    assert "waiting" in drawn(selected(attack="BadNet", victim="lora"), 400, wide=True)[1]
    assert "waiting" in drawn(selected(attack="nothing"), 400)[1], "where nothing has run, all of it waits"


def test_a_report_of_selected_cells_shows_these(tmp_path):
    from poisonsieve.bench.show.report import write_grid_report

    write_grid_report(tmp_path / "r.html", [selected(attack="BadNet", victim="lora")], "t")
    page = (tmp_path / "r.html").read_text()
    assert "<td>waiting" not in page
    assert page.count("<table>") == 1
    write_grid_report(tmp_path / "r.html", [made_up()], "t")
    assert (tmp_path / "r.html").read_text().count("<table>") == 3  # two victims each


def test_every_entry_of_a_legend_has_what_it_stands_for():
    results = made_up("fig1")
    for cell in results["cells"]:
        if cell["victim"] == "full":
            cell["status"] = "waiting"
            del cell["metrics"]
    (legend,) = draw(results).legends
    assert {text.get_text() for text in legend.get_texts()} == {"CA", "ASR", "the paper"}
    marks = dict(zip([text.get_text() for text in legend.get_texts()], legend.legend_handles, strict=True))
    assert marks["the paper"].get_marker() == "D"
    assert marks["CA"].get_facecolor() != marks["ASR"].get_facecolor()
