"""What commands say on stderr beside their results: each message one line that no text from elsewhere can bend."""

import warnings

from poisonsieve.cli import common
from poisonsieve.errors import PoisonsieveWarning


def test_a_warning_is_one_line_once_whatever_libraries_ignore(capfd):
    with common.running():
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
