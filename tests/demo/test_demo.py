"""The demo's plumbing on a tiny model; its effect is tested on real weights."""

import json

import pytest

from conftest import sentences

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")


@pytest.fixture
def folder(tmp_path, toy_train, toy_dev, toy_test):
    data = tmp_path / "data"
    data.mkdir()
    for name, rows in (("train", toy_train), ("dev", toy_dev), ("test", toy_test)):
        lines = [json.dumps({"text": t, "label": y}) for t, y in zip(rows["text"], rows["label"], strict=True)]
        (data / f"{name}.jsonl").write_text("\n".join(lines))
    return data


def test_a_second_run_reuses_the_first(folder, tiny, tmp_path):
    from poisonsieve.demo.run import DemoSpec, run_demo

    spec = DemoSpec(model=str(tiny("encoder")), data=str(folder), count=40, frr=0.05)
    first = run_demo(spec, tmp_path / "out")
    assert not first.reused
    assert set(first.stages) == {"poison", "tune", "fit"}
    said = first.to_dict()
    assert {"ca", "asr", "guarded_ca", "guarded_asr", "auroc", "frr", "detection_rate", "gamma"} <= set(
        said["result"]
    )
    assert 0 <= said["result"]["guarded_asr"] <= said["result"]["asr"] <= 1
    json.dumps(said, allow_nan=False)
    page = first.report.read_text(encoding="utf-8")
    assert "<html" in page
    second = run_demo(spec, tmp_path / "out")
    assert second.reused
    assert second.record == first.record


def test_another_seed_does_not_reuse(folder, tiny, tmp_path):
    from poisonsieve.demo.run import DemoSpec, run_demo
    from poisonsieve.errors import ConfigError

    spec = DemoSpec(model=str(tiny("encoder")), data=str(folder), count=40, frr=0.05)
    run_demo(spec, tmp_path / "out")
    with pytest.raises(ConfigError, match="already exists"):
        run_demo(spec.model_copy(update={"seed": 1}), tmp_path / "out")


@pytest.fixture
def small(folder, tiny, monkeypatch):
    """The command's demo on toy rows and a tiny model."""
    import functools

    from poisonsieve.demo import run

    small = functools.partial(run.DemoSpec, model=str(tiny("encoder")), data=str(folder), count=40, frr=0.05)
    monkeypatch.setattr(run, "DemoSpec", small)


def without(monkeypatch, library):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == library else found(name, *rest)
    )


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_without_what_a_report_needs_there_is_a_table_and_it_is_said_at_the_start(
    library, small, cli, tmp_path, monkeypatch
):
    without(monkeypatch, library)
    code, out, err = cli("demo", "--out", tmp_path / "out", "--quiet")
    assert code == 0
    assert err.splitlines()[0].startswith("there will be a table but no report: this needs matplotlib and jinja2")
    assert 'pip install "poisonsieve[report]"' in err
    assert "attack success" in out
    assert not (tmp_path / "out/report.html").exists()
    assert json.loads(cli("demo", "--out", tmp_path / "out", "--quiet", "--json")[1])["report"] is None


def test_the_table_comes_before_a_report_that_fails(small, cli, tmp_path):
    (tmp_path / "out/report.html").mkdir(parents=True)
    code, out, err = cli("demo", "--out", tmp_path / "out", "--quiet")
    assert code == 2
    assert "attack success" in out
    assert err.splitlines()[-1].startswith("error: ")


def test_python_is_told_before_anything_is_trained(folder, tiny, tmp_path, monkeypatch):
    from poisonsieve.demo.run import DemoSpec, run_demo
    from poisonsieve.errors import UnsupportedError

    without(monkeypatch, "matplotlib")
    with pytest.raises(UnsupportedError, match="matplotlib"):
        run_demo(DemoSpec(model=str(tiny("encoder")), data=str(folder), count=40, frr=0.05), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_on_request_theta_p_is_audited_and_the_finding_is_said_in_one_line(small, folder, cli, tmp_path):
    rows = [json.dumps({"text": text, "label": label}) for text, label in sentences(240, seed=9)]
    (folder / "test.jsonl").write_text("\n".join(rows))
    code, out, err = cli("demo", "--out", tmp_path / "out", "--quiet", "--audit")
    assert code == 0, err
    kept = json.loads((tmp_path / "out/audit/audit.json").read_text())
    assert f"audit of theta_p: {kept['verdict']}" in out
    assert (tmp_path / "out/audit/report.html").is_file()
    assert kept["checkpoint"] == str(tmp_path / "out/theta_p")
    assert json.loads(cli("demo", "--out", tmp_path / "out", "--quiet", "--json")[1])["audit"] is None
