"""Wrong options: one line that names the thing, and nothing written."""

import json
import os
import subprocess
import sys
import time

import pytest

pytest_plugins = ["commands"]

COMMANDS = ["poison", "tune", "fit", "screen", "rewrite", "repair", "evaluate", "list", "demo"]


@pytest.fixture
def start(tiny, guard_folder, train_file, test_file, tmp_path):
    """`start(command)` -> a good call of it, to which a wrong option is added."""
    model, out = tiny("encoder"), tmp_path / "out"
    good = {
        "poison": ["poison", "--model", model, "--data", train_file, "--out", out, "--quiet"],
        "tune": ["tune", "--model", model, "--data", train_file, "--out", out, "--quiet"],
        "fit": ["fit", "--model", model, "--data", train_file, "--out", out, "--frr", "0.1", "--quiet"],
        "screen": ["screen", guard_folder, test_file, "--quiet"],
        "evaluate": ["evaluate", guard_folder, "--victim", model, "--clean", test_file, "--quiet"],
        "rewrite": ["rewrite", "--defense", "scpd-rules", "--input", test_file, "--out", out, "--quiet"],
        "repair": [
            *("repair", "--defense", f"fine-mixing:pretrained={model}", "--model", model, "--data", train_file),
            *("--out", out, "--quiet"),
        ],
        "list": ["list"],
        "demo": ["demo"],
    }
    return good.__getitem__


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("poison", "count and rate"),
        ("poison --count 3 --rate 0.1", "count and rate"),
        ("poison --rate 0", "rate"),
        ("poison --rate 1.5", "rate"),
        ("poison --rate nan", "rate"),
        ("poison --rate 0.001", "choose a --count"),
        ("poison --count 0", "'--count'"),
        ("poison --count -3", "'--count'"),
        ("poison --count many", "'--count'"),
        ("poison --count 150", "from 1 to 72"),
        ("poison --count 3 --target 2", "--target 2 is not a class; classes: 0 = 0, 1 = 1"),
        ("poison --count 3 --target -1", "--target -1"),
        ("poison --count 3 --target ²", "--target ²"),
        ("poison --count 3 --target good", "--target good"),
        ("poison --count 3 --trigger none", "unknown attack 'none'; known: badnet"),
        ("poison --count 3 --trigger badnet:wrod=cf", "'wrod'; known: word"),
        ("poison --count 3 --trigger badnet:word", "badnet:word=cf"),
        ("poison --count 3 --trigger badnet:word=", "word is empty"),
        ("poison --count 3 --trigger multi:of=badnet", "two or more"),
        ("poison --count 3 --trigger multi:of=badnet+none", "'none'"),
        ("poison --count 3 --preset none", "unknown preset 'none'; known: default, paper"),
        ("poison --count 3 --select last", "select"),
        ("poison --count 3 --precision fp64", "precision"),
        ("poison --count 3 --lr 0", "learning_rate"),
        ("poison --count 3 --lr nan", "learning_rate"),
        ("poison --count 3 --lr inf", "learning_rate"),
        ("poison --count 3 --epochs 0", "'--epochs'"),
        ("poison --count 3 --batch-size 0", "'--batch-size'"),
        ("fit --batch-size 100000000000000000000", "batch_size"),
        ("poison --count 3 --max-length 3", "'--max-length'"),
        ("poison --count 3 --seed -1", "'--seed'"),
        ("tune --seed 4294967296", "'--seed'"),
        ("fit --gamma 0.7", "--frr and --gamma"),
        ("tune --method none", "unknown tuning 'none'; known: full, lora"),
        ("tune --preset none", "unknown preset 'none'"),
        ("tune --model", "--model"),
        ("fit --method none", "unknown tuning 'none'; known: full, lora"),
        ("fit --preset none", "unknown preset 'none'"),
        ("fit --precision half", "precision"),
        ("fit --frr 0", "false-rejection rate"),
        ("fit --frr 1", "false-rejection rate"),
        ("fit --frr -0.1", "--frr"),
        ("fit --frr 2", "--frr"),
        ("fit --frr nan", "--frr"),
        ("fit --gamma 1", "gamma"),
        ("fit --gamma -0.1", "gamma"),
        ("fit --gamma nan", "gamma"),
        ("screen --frr 0", "false-rejection rate"),
        ("screen --frr 1", "false-rejection rate"),
        ("screen --frr -1", "false-rejection rate"),
        ("screen --frr 0.001", "at least 2,995"),
        ("screen --frr-mean 0.001", "at least 999"),
        ("screen --gamma 1", "gamma"),
        ("screen --gamma -1", "gamma"),
        ("screen --gamma nan", "gamma"),
        ("screen --gamma 0.7 --frr 0.1", "exactly one of"),
        ("screen more", "more"),
        ("evaluate", "--trigger and --triggered"),
        ("evaluate --trigger badnet --triggered x.jsonl", "--trigger and --triggered"),
        ("evaluate --trigger none", "unknown attack 'none'"),
        ("evaluate --trigger badnet:x=1", "'x'; known: word"),
        ("evaluate --trigger badnet --target 5", "--target 5"),
        ("evaluate --trigger badnet --gamma 1", "gamma"),
        ("evaluate --trigger badnet --gamma 0.5 --frr 0.1", "exactly one of"),
        ("evaluate --triggered none.jsonl", "none.jsonl"),
        ("demo --trigger none", "unknown attack 'none'"),
        *((f"{command} --frobnicate", "--frobnicate") for command in COMMANDS),
    ],
)
def test_a_wrong_option_is_named(line, says, start, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    command, *more = line.split()
    refused(*start(command), *more, says=says)
    after = sorted(path.name for path in tmp_path.iterdir())
    assert after == before


def test_missing_arguments_and_unknown_commands(refused):
    refused("none-such", says=("none-such", "poisonsieve --help"))
    refused("--none-such", says="--none-such")
    refused("poison", says=("--model", "poisonsieve poison --help"))
    refused("screen", says="argument")
    refused("fit", "--model", "x", "--data", "y", says="--out")


def test_training_that_diverges_is_no_result(start, refused, tmp_path):
    refused(*start("tune"), "--method", "full", "--lr", "1e30", "--epochs", "1", says=("diverged", "--lr"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command, cli):
    code, out, err = cli(command, "--help")
    assert (code, err) == (0, "")
    assert f"Example: poisonsieve {command}" in " ".join(out.split())


def test_bare_command_and_version(cli):
    code, out, _ = cli()
    assert code == 0
    assert "Usage" in out
    code, out, _ = cli("--version")
    assert (code, out.split()[0]) == (0, "poisonsieve")


def test_list_as_json(cli):
    code, out, err = cli("list", "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    kinds = {"attacks", "poisonings", "defenses", "detectors", "rewriters", "repairs", "tunings"}
    assert set(said) == {*kinds, "datasets", "models", "descriptions", "aliases"}
    assert {"badnet", "insent", "multi"} <= set(said["attacks"])
    assert {"full", "lora", "prompt_tuning", "p_tuning_v1", "p_tuning_v2"} <= set(said["tunings"])
    assert "psim" in said["defenses"]
    assert {"minilm", "smollm2"} <= set(said["models"])
    assert "packaged:product-reviews" in said["datasets"]
    code, out, _ = cli("list")
    assert code == 0
    assert "badnet" in out


def best_of(times, *command):
    took = []
    for _ in range(times):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
        took.append(time.perf_counter() - started)
    return min(took), done.stdout


def test_help_is_quick():
    """Under a second; a machine that is busy is allowed as much again as its bare interpreter is slowed."""
    bare, _ = best_of(3, "-c", "pass")
    took, out = best_of(
        3, "-c", "import sys; sys.argv = ['poisonsieve', '--help']; from poisonsieve.cli.main import run; run()"
    )
    assert "screen" in out
    assert took < max(1.0, 40 * bare)


@pytest.mark.parametrize("module", ["poisonsieve", "poisonsieve.cli.main"])
def test_importing_is_light(module):
    heavy = ["torch", "transformers", "datasets", "peft", "sklearn", "scipy", "pandas", "matplotlib", "numpy"]
    program = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"


def test_a_reader_of_a_table_that_goes_away_is_no_error():
    """`poisonsieve list | head -1`: a table is long enough to be cut off, and nothing is said of it."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "poisonsieve.cli", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read().decode()
        assert (process.wait(120), said) == (141, "")
