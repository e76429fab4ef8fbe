"""What commands say on stderr beside their results: each message one line that no text from elsewhere can bend."""

import contextlib
import json
import shutil
import sys
import unicodedata
import warnings

import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poisonsieve.cli import command, printing
from poisonsieve.errors import ConfigError, PoisonsieveWarning

pytest_plugins = ["commands"]


def test_a_warning_is_one_line_once_whatever_libraries_ignore(capfd):
    with command.running():
        warnings.simplefilter("ignore")
        for text in ("the model\n  is odd", "the model\n  is odd", "and more"):
            warnings.warn(text, PoisonsieveWarning, stacklevel=2)
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "warning: the model is odd\nwarning: and more\n"


def test_a_warning_of_a_command_stands_beside_its_result(cli, monkeypatch):
    import poisonsieve.data

    def odd():
        warnings.warn("odd data", PoisonsieveWarning, stacklevel=2)
        return ["sst2"]

    monkeypatch.setattr(poisonsieve.data, "dataset_names", odd)
    code, out, err = cli("list", "--json")
    assert (code, err) == (0, "warning: odd data\n")
    assert '"sst2"' in out


#: Each would be obeyed: colours, the window's title, the start of the line, a direction of writing, C1.
OBEYED = ["\x1b[31m", "\x1b]0;t\x07", "\r", "\x9b2J", "\u202e", "\u2066", "\ud800"]
TEXTS = st.lists(st.text(max_size=6) | st.sampled_from(OBEYED), min_size=1, max_size=4).map("".join)


def obeyed(text):
    return [each for each in text if unicodedata.category(each) in ("Cc", "Cs") or each in "\u202e\u2066"]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_no_message_has_something_that_a_terminal_obeys(text, capfd):
    with contextlib.suppress(typer.Exit), command.running():
        printing.note(text)
        print(text)
        warnings.warn(text, PoisonsieveWarning, stacklevel=2)
        sys.stderr.write(warnings.formatwarning(text, UserWarning, text, 1))
        printing.print_facts(text, {text: text})
        printing.print_result({text: text})
        raise ConfigError(text)
    out, err = capfd.readouterr()
    assert set(obeyed(out)) <= {"\n"}
    assert set(obeyed(err)) <= {"\n", "\t"}
    assert err.endswith("\n")


def test_wrong_usage_is_said_without_it_too(cli):
    code, out, err = cli("screen\x1b[2J\u202e")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert obeyed(err) == ["\n"]


def test_class_names_of_a_checkpoint_are_shown_and_not_obeyed(cli, tiny, train_file, tmp_path):
    """The names go through a training's facts and its error."""
    folder = shutil.copytree(tiny("encoder"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    names = {"0": "\x1b[2Jgood", "1": "\u202ebad"}
    config |= {"id2label": names, "label2id": {name: int(number) for number, name in names.items()}}
    (folder / "config.json").write_text(json.dumps(config))
    call = ["fit", "--model", folder, "--data", train_file, "--defense", "msp", "--frr", 0.2, "--quiet"]
    _, out, err = cli(*call, "--out", tmp_path / "guard")
    assert set(obeyed(out + err)) <= {"\n"}
    _, out, err = cli(
        "poison", "--model", folder, "--data", train_file, "--target", "\x1b[2J", "--out", tmp_path / "p"
    )
    assert "\\x1b[2J" in err
    assert set(obeyed(out + err)) <= {"\n"}


def test_a_packaged_model_without_a_head_goes_by_the_name_that_was_typed(
    refused, tiny, train_file, tmp_path, monkeypatch
):
    from poisonsieve.models import packaged

    folder = tiny("encoder", head=False)
    monkeypatch.setitem(packaged._FOLDERS, "minilm", lambda: folder)
    said = refused("fit", "--model", "minilm", "--data", train_file, "--out", tmp_path / "guard")
    assert said.startswith("error: minilm has no trained classification head")
