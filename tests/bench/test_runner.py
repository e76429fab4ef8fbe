"""A grid on tiny models: each thing made once, nothing made twice, failures recorded, thresholds judged from scores."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from conftest import WORDS, finished_grid, make_decoder, write_grid, write_toy_rows
from poisonsieve.bench.checks import check
from poisonsieve.bench.entries import ThresholdEntry
from poisonsieve.bench.fingerprints import Fingerprints
from poisonsieve.bench.plan import make_plan
from poisonsieve.bench.runner import run_grid
from poisonsieve.bench.spec import expand, load_grid
from poisonsieve.bench.store import Store
from poisonsieve.errors import ConfigError
from poisonsieve.storage import read_rows
from tiny_lm import make_lm

#: What the tiny grid is made of.
_STAGES = 16
COMMAND = [sys.executable, "-m", "poisonsieve.cli", "bench", "run"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with toy rows, a tiny model, a grid file, and the grid's finished store."""
    return finished_grid(tmp_path_factory.mktemp("grid"))


@pytest.fixture
def again(world, tmp_path):
    """`again(only=..., **changes of the file)` -> the results in a copy of the finished store, and the copy."""
    store = tmp_path / "store"
    shutil.copytree(world / "store", store)

    def call(only=None, retry_failed=False, threshold=None, **changes):
        grid = load_grid(write_grid(tmp_path, world / "model", **changes), data_root=world)
        if threshold is not None:
            grid = grid.model_copy(update={"threshold": ThresholdEntry(**threshold)})
        return run_grid(grid, "grid", store, only=only, retry_failed=retry_failed)

    call.store = store
    return call


def runs(store: Path) -> dict[Path, tuple[int, int]]:
    """Every finished stage, and what changes when it is run again."""
    return {
        path.relative_to(store): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in (store / "stages").rglob("run.json")
    }


def by_place(record):
    return {(cell["attack"], cell["defense"], cell["victim"]): cell for cell in record["cells"]}


def without_times(record):
    """Cells less every `seconds`, `seconds_per_1000`, ..."""
    return [{key: value for key, value in cell.items() if not key.startswith("seconds")} for cell in record["cells"]]


def read(store):
    return json.loads((store / "grids/grid/results.json").read_text())


def test_each_thing_is_made_once_for_all_that_need_it(world):
    record = read(world / "store")
    assert [cell["status"] for cell in record["cells"]] == ["done"] * 6
    assert Counter(path.parts[1] for path in runs(world / "store")) == {
        "theta_p": 2,  # un-poisoned, and BadNet's
        "victim": 4,
        "guard": 1,  # one PSIM for both victims
        "confidences": 1,
        "answers": 4,  # PSIM's cells take those of the undefended victim
        "shortened": 2,
        "scores": 2,
    }


def test_cells_are_counted_as_the_package_counts(world):
    found = by_place(read(world / "store"))
    none, psim = found["BadNet", "none", "lora"]["metrics"], found["BadNet", "psim", "lora"]["metrics"]
    assert (none["n_clean"], none["n_triggered"]) == (120, 60)
    assert psim["threshold"]["rule"] == "frr"
    assert psim["asr"] <= none["asr"]
    assert psim["ca"] <= none["ca"]
    lost = psim["accuracy_lost"]
    assert (lost["n"], lost["gained"]) == (120, 0), "a guard turns no wrong answer right"
    assert lost["lost"] / 120 == lost["value"] == pytest.approx(none["ca"] - psim["ca"])
    assert lost["low"] <= lost["value"] <= lost["high"] and "accuracy_lost" not in none
    assert 0 <= psim["auroc"] <= 1
    floor = found["normal", "none", "full"]["metrics"]["floor"]
    assert floor.keys() == {"BadNet"}
    assert "asr" not in found["normal", "none", "full"]["metrics"]


def test_the_numbers_are_those_of_the_single_commands(world):
    """The same weights, guard and threshold put together by hand."""
    import numpy as np

    from poisonsieve.attacks import make_trigger, trigger_rows
    from poisonsieve.config import TriggerSpec
    from poisonsieve.data import load_dataset
    from poisonsieve.guard import GuardedClassifier
    from poisonsieve.guard.evaluation import evaluate, score_rows

    cell = by_place(read(world / "store"))["BadNet", "psim", "lora"]
    folder = {stage["kind"]: world / "store" / stage["folder"] for stage in cell["stages"]}
    guarded = GuardedClassifier.from_pretrained(folder["guard"], folder["victim"])
    guarded.guard.set_threshold(frr_mean=0.05)
    test = load_dataset(str(world / "test.jsonl"))
    attacked = trigger_rows(test, make_trigger(TriggerSpec.parse("badnet")), target=0, seed=0).rows
    found = evaluate(guarded, score_rows(guarded, test), score_rows(guarded, attacked), target=0)
    assert cell["metrics"]["threshold"]["gamma"] == guarded.guard.threshold_.gamma
    assert cell["metrics"]["ca"] == found.guarded_ca
    assert cell["metrics"]["asr"] == found.guarded_asr
    assert np.isclose(cell["metrics"]["auroc"], found.auroc)


def test_one_json_a_cell(world):
    alone = [json.loads(path.read_text()) for path in (world / "store/grids/grid/cells").iterdir()]
    key = lambda cell: json.dumps(cell, sort_keys=True)  # noqa: E731
    assert sorted(alone, key=key) == sorted(read(world / "store")["cells"], key=key)
    for cell in alone:
        assert cell["environment"]["python"]
        assert {stage["kind"] for stage in cell["stages"]} >= {"theta_p", "victim", "answers"}
        assert all(seconds > 0 for seconds in cell["seconds"].values())


def test_a_second_run_changes_nothing(again):
    before, written = runs(again.store), (again.store / "grids/grid/results.json").stat().st_mtime_ns
    record = again()
    assert runs(again.store) == before
    assert (again.store / "grids/grid/results.json").stat().st_mtime_ns == written
    assert record == read(again.store)


def test_another_threshold_is_judged_from_stored_scores(again):
    before = runs(again.store)
    record = again(threshold={"gamma": 0.5001})
    assert runs(again.store) == before
    judged = by_place(record)["BadNet", "psim", "full"]["metrics"]
    assert judged["threshold"]["gamma"] == 0.5001
    assert judged["threshold"]["rule"] == "fixed"
    back = again()
    assert by_place(back)["BadNet", "psim", "full"]["metrics"]["threshold"]["rule"] == "frr"


#: Runs the command, then says which libraries it imported.
IMPORTS = """
import sys
from poisonsieve.cli.main import app
app(sys.argv[1:], standalone_mode=False)
print(*{name.partition(".")[0] for name in sys.modules})
"""


@pytest.mark.parametrize("more", [[], ["--threshold", "gamma=0.6"], []], ids=["again", "threshold", "back"])
def test_a_second_run_is_quick(world, more):
    """Seconds are for an idle machine; what would cost them, importing and opening models, is the same on any."""
    command = [sys.executable, "-c", IMPORTS, "bench", "run", world / "grid.yaml", "--data-root", world]
    done = subprocess.run([*command, "--out", world / "store", *more], capture_output=True, text=True, check=True)
    assert "6 done, 0 failed" in done.stderr
    assert not {"torch", "transformers", "peft", "datasets"} & set(done.stdout.split())


#: Does the scores of a cell whose answers and confidences are there, and says which libraries it took.
SCORES_ALONE = """
import json, sys
from pathlib import Path
from poisonsieve.bench.plan import Stage
from poisonsieve.bench.spec import RunOptions
from poisonsieve.bench.store import Store
from poisonsieve.bench.work import do_stage
stage = Stage.from_dict(json.loads(sys.argv[2]))
do_stage(stage, Store(Path(sys.argv[1])), RunOptions())
print(*sys.modules)
"""


def test_scores_are_put_together_without_a_model(world, tmp_path):
    """No weights are there, no library that could open any is imported; also where the victim had to read less."""
    store = Store(tmp_path / "store")
    shutil.copytree(world / "store", store.root)
    cell = by_place(read(store.root))["BadNet", "psim", "full"]
    grid = load_grid(world / "grid.yaml", data_root=world)
    fingerprints = Fingerprints(store.root / "fingerprints.json")
    plan = make_plan(grid, expand(grid), check(grid), fingerprints)
    (stage,) = [stage for stage in plan.scores if stage.key == cell["key"]]
    expected = read_rows(store.folder(stage) / "rows.parquet")
    shutil.rmtree(store.folder(stage))
    for kind in ("theta_p", "victim", "guard"):
        shutil.rmtree(store.root / "stages" / kind)
    task = json.dumps(stage.to_dict())
    done = subprocess.run(
        [sys.executable, "-c", SCORES_ALONE, store.root, task], capture_output=True, text=True, check=True
    )
    assert not {"transformers", "peft", "poisonsieve.models.load", "poisonsieve.defenses"} & set(done.stdout.split())
    for name, rows in read_rows(store.folder(stage) / "rows.parquet").items():
        assert rows.equals(expected[name])


def test_a_victim_reads_no_further_than_its_guard(world, tmp_path):
    """A trigger may stand behind what the guard reads: then the victim is asked again, in a stage of its own."""
    for split in ("train", "dev"):
        shutil.copy(world / f"{split}.jsonl", tmp_path)
    long = [" ".join(f"{word} the a film" for word in WORDS[n : n + 8]) for n in range(20)]
    lines = [json.dumps({"sentence": text, "label": n % 2}) for n, text in enumerate(long)]
    (tmp_path / "test.jsonl").write_text("\n".join(lines) + "\n")
    defenses = {"none": {"defense": "none"}, "psim": {"defense": "psim:max_length=12"}, "msp": {"defense": "msp"}}
    changes = {"victims": {"full": {"method": "full", "epochs": 1}}, "defenses": defenses}
    grid = load_grid(write_grid(tmp_path, world / "model", **changes), data_root=tmp_path)
    found = by_place(run_grid(grid, "grid", tmp_path / "store"))
    asked = {
        place[1]: stage["result"]["asked"]
        for place, cell in found.items()
        if cell["status"] == "done"
        for stage in cell["stages"]
        if stage["kind"] == "shortened"
    }
    assert asked == {"psim": True, "msp": False}
    folder = {
        stage["kind"]: tmp_path / "store" / stage["folder"] for stage in found["BadNet", "psim", "full"]["stages"]
    }
    scores, shortened, answers = (read_rows(folder[k] / "rows.parquet") for k in ("scores", "shortened", "answers"))
    assert scores["clean"].prediction.equals(shortened["clean"].prediction)
    assert scores["clean"].truncated.all() and not answers["clean"].truncated.any()


def test_every_cell_says_whether_its_attack_took_and_what_its_defence_costs(world):
    found = by_place(read(world / "store"))
    attacked, normal = found["BadNet", "psim", "full"], found["normal", "none", "full"]
    assert attacked["theta_p"]["took"] == (attacked["theta_p"]["dev_asr"] >= 0.95)
    assert normal["theta_p"]["took"] is None
    assert attacked["seconds_per_1000"] > found["BadNet", "none", "full"]["seconds_per_1000"] > 0
    assert attacked["seconds_to_fit"] > 0


def test_a_defence_is_crossed_with_its_variants(again):
    """Rewriters as well as detectors."""
    defenses = {
        "none": {"defense": "none"},
        "msp": {"defense": "msp", "vary": {"short": {"max_length": 12}, "long": {"max_length": 40}}},
        "scpd": {"defense": "scpd-rules", "vary": {"dropped": {"fronted": "drop"}, "moved": {}}},
    }
    record = again(defenses=defenses, victims={"lora": {"method": "lora", "epochs": 1}})
    cells = {(cell["defense"], cell["variant"]): cell for cell in record["cells"] if cell["attack"] == "BadNet"}
    assert list(cells) == [("none", None), ("msp", "short"), ("msp", "long"), ("scpd", "dropped"), ("scpd", "moved")]
    assert {cell["status"] for cell in cells.values()} == {"done"}
    limit = {cell["stages"][-1]["result"]["max_length"] for place, cell in cells.items() if place[0] == "none"}
    assert limit == {48}
    chosen = {
        variant: stage["params"]["defense"]
        for (name, variant), cell in cells.items()
        for stage in cell["stages"]
        if name == "msp" and stage["kind"] == "guard"
    }
    assert chosen == {"short": "msp:max_length=12", "long": "msp:max_length=40"}


def test_a_threshold_that_a_detector_cannot_have_fails_its_own_cells_and_no_other(again):
    record = again(threshold={"gamma": 1.5})
    states = {place: cell["status"] for place, cell in by_place(record).items()}
    assert [place for place, state in states.items() if state == "failed"] == [
        ("BadNet", "psim", "full"),
        ("BadNet", "psim", "lora"),
    ]
    assert "gamma" in by_place(record)["BadNet", "psim", "full"]["error"]


def test_every_kind_of_defence_has_its_cells(again, world, tmp_path):
    """A rewriter that asks the victim, rewrites from files, a repair, and a detector on the victim itself."""
    lm = make_lm(tmp_path, kind="llama")
    defenses = {
        "none": {"defense": "none"},
        "onion": {"defense": f"onion:lm={lm},max_ca_drop=0.5"},
        "files": {"clean": "{data}/test.jsonl", "triggered": {"BadNet": "{data}/back.jsonl"}},
        "mixing": {"defense": "fine-mixing:pretrained={model},epochs=1"},
        "msp": {"defense": "msp", "on": "victim"},
    }
    rows = [line for line in (world / "test.jsonl").read_text().splitlines() if '"label": 1' in line]
    (world / "back.jsonl").write_text("\n".join(rows) + "\n")
    found = by_place(again(defenses=defenses, attacks={"BadNet": {"trigger": "badnet", "count": 30}}))
    assert {cell["status"] for cell in found.values()} == {"done"}, [cell.get("error") for cell in found.values()]
    made = Counter(path.parts[1] for path in runs(again.store))
    assert (made["repair"], made["rewriting"]) == (1, 3)  # for both victims
    kinds = {place: [stage["kind"] for stage in cell["stages"]] for place, cell in found.items()}
    assert kinds["BadNet", "mixing", "lora"] == ["theta_p", "repair", "victim", "answers"]
    assert kinds["BadNet", "msp", "lora"].count("guard") == 1
    assert found["BadNet", "files", "full"]["metrics"]["ca"] == found["BadNet", "none", "full"]["metrics"]["ca"]
    for (attack, defense, victim), cell in found.items():
        before = found[attack, "none", victim]["metrics"]["ca"]
        if defense != "none":
            assert cell["metrics"]["accuracy_lost"]["value"] == pytest.approx(before - cell["metrics"]["ca"])
    (answers,) = [stage for stage in found["BadNet", "onion", "full"]["stages"] if stage["kind"] == "answers"]
    assert answers["result"]["facts"]["fit"]["rows"] == 120
    assert set(answers["result"]["facts"]["changed"]) == {"clean", "triggered"}


def test_a_model_in_4_bits_is_poisoned_by_lora_and_read_in_4_bits_by_all(tmp_path):
    write_toy_rows(tmp_path)
    model = {"model": str(make_decoder(tmp_path / "model", width=128)), "bits": 4}
    victims = {"lora": {"method": "lora", "epochs": 1}}
    grid = load_grid(write_grid(tmp_path, tmp_path, models={"wide": model}, victims=victims), data_root=tmp_path)
    record = run_grid(grid, "grid", tmp_path / "store")
    assert [cell["status"] for cell in record["cells"]] == ["done"] * 3
    stages = {stage["kind"]: tmp_path / "store" / stage["folder"] for stage in record["cells"][-1]["stages"]}
    for kind in ("theta_p", "victim", "guard"):
        assert json.loads((stages[kind] / "poisonsieve.json").read_text())["bits"] == 4
    assert not (stages["theta_p"] / "adapter_config.json").exists()
    assert (stages["victim"] / "adapter_config.json").exists()


def test_only_what_is_asked_for_runs(world, tmp_path):
    grid = load_grid(world / "grid.yaml", data_root=world)
    record = run_grid(
        grid, "grid", tmp_path / "new", only={"attack": ["BadNet"], "victim": ["full"], "defense": ["none"]}
    )
    assert [cell["status"] for cell in record["cells"]].count("done") == 1
    assert Counter(path.parts[1] for path in runs(tmp_path / "new")) == {"theta_p": 1, "victim": 1, "answers": 1}
    with pytest.raises(ConfigError, match=r"attack=InSent: no cell has that value; choose from: normal, BadNet"):
        run_grid(grid, "grid", tmp_path / "new", only={"attack": ["InSent"]})
    with pytest.raises(ConfigError, match="no such axis"):
        run_grid(grid, "grid", tmp_path / "new", only={"colour": ["red"]})


def test_a_failing_cell_says_why_the_rest_goes_on_and_it_is_tried_again_when_asked(again, world):
    lost = world / "lost.jsonl"
    changes = {
        "defenses": {
            "files": {"defense": f"scpd-file:file={lost},original={world / 'test.jsonl'}"},
            "none": {"defense": "none"},
        },
        "attacks": {"BadNet": {"trigger": "badnet", "count": 30}},
    }
    before = runs(again.store)
    record = again(**changes)
    states = {place: cell["status"] for place, cell in by_place(record).items()}
    assert Counter(states.values()) == {"failed": 2, "done": 2}
    assert "lost.jsonl" in by_place(record)["BadNet", "files", "full"]["error"]
    assert runs(again.store) == before
    assert again(**changes)["cells"] == record["cells"]  # not tried again by itself
    assert Counter(cell["status"] for cell in again(retry_failed=True, **changes)["cells"]) == Counter(
        states.values()
    )


def test_a_defect_is_recorded_with_its_traceback(again, monkeypatch):
    from poisonsieve.defenses.psim import PSIM

    def broken(*args, **kwargs):
        raise RuntimeError("out of cheese")

    monkeypatch.setattr(PSIM, "_fit", broken)
    varied = {"none": {"defense": "none"}, "psim": {"defense": "psim", "vary": {"longer": {"epochs": 2}}}}
    record = again(defenses=varied)
    error = by_place(record)["BadNet", "psim", "full"]["error"]
    assert "RuntimeError: out of cheese (a defect; see failed/" in error
    (log,) = (again.store / "failed").glob("*.log")
    assert "in broken" in log.read_text()
    monkeypatch.undo()
    assert {cell["status"] for cell in again(defenses=varied, retry_failed=True)["cells"]} == {"done"}
    assert not list((again.store / "failed").iterdir())


#: As in the tests' own process: another number of threads adds in another order, and last digits differ.
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def killed_at(command: list, seconds: float) -> bool:
    """Start a run and kill -9 its whole group after `seconds`; False if it was done before."""
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ONE_THREAD
    )
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_9_at_ten_random_moments_loses_and_repeats_nothing(world, tmp_path):
    """The results are those of a run that nobody killed, byte for byte apart from times."""
    command = [*COMMAND, world / "grid.yaml", "--data-root", world, "--quiet", "--out"]
    started = time.monotonic()
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True, env=ONE_THREAD)
    whole = time.monotonic() - started
    rng, kills, seen = random.Random(0), 0, {}
    while kills < 10:
        kills += killed_at([*command, tmp_path / "killed"], rng.uniform(0.2, 1.0) * whole)
        now = runs(tmp_path / "killed")
        assert {path: now[path] for path in seen} == seen, "a finished stage was run again"
        seen = now
        if len(seen) == _STAGES and kills < 10:
            shutil.rmtree(
                tmp_path / "killed"
            )  # through before the tenth kill: from the start again, at other moments
            seen = {}
    subprocess.run([*command, tmp_path / "killed"], check=True, capture_output=True, env=ONE_THREAD)
    now = runs(tmp_path / "killed")
    assert {path: now[path] for path in seen} == seen
    assert without_times(read(tmp_path / "killed")) == without_times(read(tmp_path / "whole"))
    assert without_times(read(tmp_path / "killed")) == without_times(read(world / "store"))


def test_one_cause_is_said_once_by_its_key_in_the_file(world, tmp_path, cli):
    """Too many rows are to be poisoned: eight cells fail for it, two attacks of two victims each before two defences."""
    attacks = {name: {"trigger": name, "count": 5000} for name in ("badnet", "insent")}
    grid = write_grid(tmp_path, world / "model", attacks=attacks)
    code, _, err = cli("bench", "run", grid, "--data-root", world, "--out", tmp_path / "own", "--quiet")
    assert code == 1
    lines = [line for line in err.splitlines() if "5000 rows are to be poisoned" in line]
    assert len(lines) == 1, err
    assert "choose a count from 1 to" in lines[0] and "--" not in lines[0]
    # A run that does nothing says it too, with the number of cells.
    code, _, err = cli("bench", "run", grid, "--data-root", world, "--out", tmp_path / "own", "--quiet")
    assert code == 1
    (line,) = [line for line in err.splitlines() if "5000 rows are to be poisoned" in line]
    record = json.loads((tmp_path / "own/grids/grid/results.json").read_text())
    failed = [cell for cell in record["cells"] if cell["status"] == "failed"]
    assert len(failed) > 2
    assert line.startswith(f"failed ({len(failed)} cells): 5000 rows")
