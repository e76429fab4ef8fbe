"""The demo's plumbing on a tiny model; its effect is tested on real weights."""

import json

import pytest

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
    from poisonsieve.bench.demo import DemoSpec, run_demo

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
    from poisonsieve.bench.demo import DemoSpec, run_demo
    from poisonsieve.errors import ConfigError

    spec = DemoSpec(model=str(tiny("encoder")), data=str(folder), count=40, frr=0.05)
    run_demo(spec, tmp_path / "out")
    with pytest.raises(ConfigError, match="already exists"):
        run_demo(spec.model_copy(update={"seed": 1}), tmp_path / "out")
