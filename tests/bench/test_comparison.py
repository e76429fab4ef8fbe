"""The comparison on tiny models: every kind of defence through one table, resumable, with failures recorded."""

import json
from importlib.resources import files

import pytest
import yaml

from conftest import dataset, sentences
from poisonsieve.bench.comparison import FLOOR, load_comparison, run_comparison
from poisonsieve.bench.show.rendering import markdown_table
from poisonsieve.bench.show.table import cell_failures, make_comparison_table
from poisonsieve.errors import ConfigError

CONFIGS = files("poisonsieve.bench") / "configs" / "comparison"


@pytest.fixture
def rows_folder(tmp_path, write_jsonl):
    for seed, split in enumerate(("train", "dev", "test")):
        write_jsonl(f"{split}.jsonl", dataset(sentences(120, seed=seed + 10)))
    return tmp_path


@pytest.fixture
def config(tmp_path, tiny, rows_folder):
    def make(**changes):
        content = {
            "title": "tiny",
            "model": str(tiny("encoder", head=False)),
            "data": {split: f"{{data}}/{split}.jsonl" for split in ("train", "dev", "test")},
            "poison": {"epochs": 1, "learning_rate": 1e-3, "precision": "fp32"},
            "victim": {"method": "lora", "epochs": 1},
            "attacks": {"BadNet": {"trigger": "badnet", "count": 30}},
            "defenses": {"none": {"defense": "none"}, "PSIM": {"defense": "psim"}},
            "threshold": {"frr_mean": 0.05},
            **changes,
        }
        path = tmp_path / "comparison.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return make


def test_every_cell_is_counted_and_kept(config, rows_folder, tmp_path):
    spec = load_comparison(config(), rows_folder)
    cells = run_comparison(spec, tmp_path / "out")
    assert [(cell["attack"], cell["defense"]) for cell in cells] == [
        ("BadNet", FLOOR),
        ("BadNet", "none"),
        ("BadNet", "PSIM"),
    ]
    none, psim = cells[1], cells[2]
    assert none["n_clean"] == 120
    assert none["n_triggered"] == 60
    assert "auroc" not in none
    assert psim["asr"] <= none["asr"]
    assert 0 <= psim["auroc"] <= 1
    assert psim["frr"] == pytest.approx((psim["intervals"]["frr"][0] + psim["intervals"]["frr"][1]) / 2, abs=0.1)
    assert psim["seconds_per_1000"] > 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("run.json")}
    again = run_comparison(spec, tmp_path / "out")
    assert again == cells
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("run.json")} == before


def test_a_scale_and_limits(config, rows_folder):
    path = config(limits={"test": 60}, scale={"small": {"limits": {"train": 30, "triggered": 10}, "seeds": [4]}})
    assert load_comparison(path, rows_folder).limits.model_dump(exclude_none=True) == {"test": 60}
    spec = load_comparison(path, rows_folder, scale="small")
    (dataset,) = spec.grid().datasets.values()
    assert dataset.limits.model_dump(exclude_none=True) == {"train": 30, "test": 60, "triggered": 10}
    assert spec.grid().seeds == [4]
    with pytest.raises(ConfigError, match="scale has no 'large'; it has: small"):
        load_comparison(path, rows_folder, scale="large")


def test_a_failing_cell_says_why_and_the_rest_goes_on(config, rows_folder, tmp_path):
    lost = {"clean": "{data}/lost.jsonl", "triggered": {"BadNet": "{data}/lost.jsonl"}}
    defenses = {"files": lost, "none": {"defense": "none"}}
    cells = run_comparison(load_comparison(config(defenses=defenses, floor=False), rows_folder), tmp_path / "out")
    assert "lost.jsonl: No such file" in cells[0]["error"]
    assert "error" not in cells[1]
    assert cell_failures(cells) == [f"BadNet, files, seed 0: {cells[0]['error']}"]
    table = make_comparison_table(cells)
    assert "failed" in markdown_table(table.heads, table.rows, 1)


def test_rewrites_from_files_are_what_the_victim_reads(config, rows_folder, tmp_path, write_jsonl):
    """The clean rows rewritten to themselves change nothing; triggered rows rewritten to clean ones lose the trigger."""
    write_jsonl("back.jsonl", dataset([row for row in sentences(120, seed=12) if row[1] != 0]))
    entry = {"clean": "{data}/test.jsonl", "triggered": {"BadNet": "{data}/back.jsonl"}}
    spec = load_comparison(config(defenses={"files": entry, "none": {"defense": "none"}}, floor=False), rows_folder)
    files, none = run_comparison(spec, tmp_path / "out")
    assert files["ca"] == none["ca"]
    assert files["seconds_per_1000"] is None


def test_other_rewrites_in_the_same_file_are_another_cell(config, rows_folder, tmp_path, write_jsonl):
    entry = {"clean": "{data}/test.jsonl", "triggered": {"BadNet": "{data}/back.jsonl"}}
    spec = load_comparison(config(defenses={"files": entry}, floor=False), rows_folder)
    rows = [row for row in sentences(120, seed=12) if row[1] != 0]
    write_jsonl("back.jsonl", dataset(rows))
    run_comparison(spec, tmp_path / "out")
    write_jsonl("back.jsonl", dataset([(f"very {text}", label) for text, label in rows]))
    run_comparison(spec, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("stages/answers/BadNet-victim-files-*"))) == 2


def test_other_content_behind_a_rewriter_is_another_cell(config, rows_folder, tmp_path, write_jsonl):
    """A file is named by its path; what decides is what stands in it."""
    texts = [text for text, _ in sentences(120, seed=12)]
    triggered = [text for text, label in sentences(120, seed=12) if label != 0]
    write_jsonl("shown.jsonl", dataset([(text, 1) for text in triggered]))
    file = rows_folder / "rewrites.jsonl"

    def rewrite_to(made):
        file.write_text("".join(json.dumps({"original": text, "text": made(text)}) + "\n" for text in texts))

    attacks = {"BadNet": {"trigger": "badnet", "count": 30, "triggered": "{data}/shown.jsonl"}}
    defenses = {"SCPD": {"defense": f"scpd-file:file={file}"}, "none": {"defense": "none"}}
    spec = load_comparison(config(attacks=attacks, defenses=defenses, floor=False), rows_folder)
    rewrite_to(lambda text: text)
    same, none = run_comparison(spec, tmp_path / "out")
    assert same["ca"] == none["ca"]
    rewrite_to(lambda text: f"very {text}")
    other, _ = run_comparison(spec, tmp_path / "out")
    assert same["facts"]["changed_clean"] == 0
    assert other["facts"]["changed_clean"] == 1


def test_other_content_behind_a_trigger_is_another_model(config, rows_folder, tmp_path, write_jsonl):
    rows = sentences(120, seed=10)
    write_jsonl("test.jsonl", dataset(sentences(120, seed=10)))

    def rewrite_to(start):
        write_jsonl("rewrites.jsonl", dataset([(f"{start} {text}", label) for text, label in rows]))

    trigger = "synattack-file:file={data}/rewrites.jsonl,original={data}/train.jsonl"
    changes = {"attacks": {"SCPN": {"trigger": trigger, "count": 30}}, "defenses": {"none": {"defense": "none"}}}
    path = config(**changes, floor=False)
    rewrite_to("when it is slow ,")
    run_comparison(load_comparison(path, rows_folder), tmp_path / "out")
    rewrite_to("if it was fun ,")
    (cell,) = run_comparison(load_comparison(path, rows_folder), tmp_path / "out")
    assert "error" not in cell
    assert len(list((tmp_path / "out").glob("stages/theta_p/model-SCPN-*"))) == 2


def test_an_attack_without_a_file_of_rewrites_has_no_cell(config, rows_folder, tmp_path):
    defenses = {"files": {"clean": "{data}/test.jsonl"}}
    assert (
        run_comparison(load_comparison(config(defenses=defenses, floor=False), rows_folder), tmp_path / "out") == []
    )


def test_only_what_is_asked_for_runs(config, rows_folder, tmp_path):
    spec = load_comparison(config(), rows_folder)
    (cell,) = run_comparison(spec, tmp_path / "out", defenses=["none"])
    assert cell["defense"] == "none"
    with pytest.raises(ConfigError, match="no attack InSent; it has: BadNet"):
        run_comparison(spec, tmp_path / "out", attacks=["InSent"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"defences": {}}, "defences: extra inputs are not permitted"),
        ({"defenses": {"x": {"defense": "nothing"}}}, "unknown defense 'nothing'"),
        ({"defenses": {"x": {"defense": "psim:gama=1"}}}, "gama"),
        ({"attacks": {"x": {"trigger": "nothing", "count": 3}}}, "unknown attack 'nothing'"),
        ({"attacks": {"x": {"count": 3}}}, "exactly one of trigger and poisoned"),
        ({"poison": {"lr": 1}}, "lr: extra inputs are not permitted"),
        ({"victim": {"method": "lorra"}}, "unknown tuning 'lorra'"),
        ({"defenses": {"x": {"clean": "a.jsonl", "triggered": {"InSent": "b.jsonl"}}}}, "InSent, which is no attack"),
        ({"data": {"train": "a", "dev": "b"}}, "data.test is missing"),
    ],
)
def test_a_mistake_in_the_file_is_refused_before_anything_trains(config, rows_folder, change, says):
    with pytest.raises(ConfigError, match=says):
        load_comparison(config(**change), rows_folder)


def test_data_need_a_root(config):
    with pytest.raises(ConfigError, match="--data-root"):
        load_comparison(config())


def test_the_command_prints_one_table(config, rows_folder, tmp_path, cli):
    out = tmp_path / "out"
    command = ("compare", config(), "--data-root", rows_folder, "--out", out, "--quiet")
    code, shown, said = cli(*command)
    assert code == 0, said
    assert "PSIM" in shown
    record = json.loads((out / "comparison.json").read_text())
    assert [cell["defense"] for cell in record["cells"]] == [FLOOR, "none", "PSIM"]
    assert "| PSIM |" in (out / "comparison.md").read_text()
    assert json.loads(cli(*command, "--json")[1]) == record


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_comparison_that_ships_is_sound(path, tmp_path, monkeypatch):
    """Names, keys and arguments; the rows themselves are looked at when it runs."""
    monkeypatch.setattr("poisonsieve.attacks.make_trigger", lambda trigger: trigger.name)
    spec = load_comparison(path, tmp_path)
    assert len(spec.attacks) >= 3
    assert {"none", "PSIM", "ONION", "Fine-mixing", "MSP", "STRIP", "RAP", "DAN"} <= set(spec.defenses)


def test_cells_that_fail_for_one_reason_are_one_line():
    cells = [
        {"attack": "A", "defense": f"d{index}", "seed": 0, "error": f"x {index}: no", "cause": "no"}
        for index in range(5)
    ]
    assert cell_failures(cells) == ["A, d0, seed 0; A, d1, seed 0; A, d2, seed 0 and 2 more cells: no"]
    assert cell_failures(cells[:1]) == ["A, d0, seed 0: x 0: no"]
