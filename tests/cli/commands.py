"""Guards, models and files that the commands are tried on, and the shape every refusal has."""

import json

import pytest

from conftest import make_encoder, make_mpnet, sentences


@pytest.fixture
def refused(cli):
    """`refused(*args, says=(...))`: the command ends with code 2 and one line that holds each of those parts."""

    def call(*args, says=()):
        code, out, err = cli(*args)
        assert code == 2, (code, out, err)
        assert out == ""
        assert err.startswith("error: "), err
        assert err.count("\n") == 1, err
        for part in [says] if isinstance(says, str) else says:
            assert part in err
        return err

    return call


@pytest.fixture(scope="session")
def guard_folder(tiny, toy_train, toy_dev, tmp_path_factory):
    from poisonsieve import PSIM, Guard

    folder = tmp_path_factory.mktemp("guard") / "guard"
    Guard(PSIM(tiny("encoder")), frr=0.05).fit(toy_train, calibration=toy_dev).save_pretrained(folder)
    return folder


@pytest.fixture
def rows_file(tmp_path):
    """`rows_file(name, rows)` -> path; a row is (text, label), a dict, or a raw line."""

    def write(name, rows):
        lines = [
            row
            if isinstance(row, str)
            else json.dumps(dict(zip(("text", "label"), row, strict=True)))
            if isinstance(row, tuple)
            else json.dumps(row)
            for row in rows
        ]
        path = tmp_path / name
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def train_file(rows_file):
    return rows_file("train.jsonl", sentences(160, seed=1))


@pytest.fixture
def test_file(rows_file):
    return rows_file("test.jsonl", sentences(30, seed=3))


@pytest.fixture(scope="session")
def mpnet(tmp_path_factory):
    """A model that cannot take prefixes."""
    return make_mpnet(tmp_path_factory.mktemp("mpnet"))


@pytest.fixture(scope="session")
def named(tmp_path_factory):
    """A model whose two classes have names."""
    folder = make_encoder(tmp_path_factory.mktemp("named"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "neg", "1": "pos"}, "label2id": {"neg": 0, "pos": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
