"""`screen` and `evaluate` on good input: what they print, and that they say what the Python objects say."""

import io
import json
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import sentences

pytest_plugins = ["commands"]


@pytest.fixture(scope="module")
def guarded(guard_folder, tiny):
    from poisonsieve import GuardedClassifier

    return GuardedClassifier.from_pretrained(guard_folder, tiny("encoder"))


def records_of(out):
    return [json.loads(line) for line in out.splitlines()]


def test_records_are_the_verdicts_of_the_object(cli, guard_folder, guarded, tiny, test_file):
    texts = [text for text, _ in sentences(30, seed=3)]
    code, out, err = cli("screen", guard_folder, test_file, "--victim", tiny("encoder"), "--quiet")
    records = records_of(out)
    assert code == 0
    assert err.count("\n") == 1
    assert [record["text"] for record in records] == texts
    for record, verdict in zip(records, guarded.screen(texts), strict=True):
        said = {key: value for key, value in record.items() if key not in ("index", "line", "text")}
        expected = verdict.to_dict()
        assert said.keys() == expected.keys()
        assert said["verdict"] == expected["verdict"]
        assert said["label"] == expected["label"]
        assert said["confidence"] == pytest.approx(expected["confidence"], abs=1e-6)
        assert (record["label"] is None) == record["rejected"]


def test_another_backend_is_named_or_gives_the_same_records(cli, guard_folder, tiny, test_file):
    args = ["screen", guard_folder, test_file, "--victim", tiny("encoder"), "--quiet"]
    code, out, err = cli(*args, "--backend", "onnx")
    assert (code, out) == (2, "")
    assert "choose torch or openvino" in err
    pytest.importorskip("openvino", reason="OpenVINO is not installed; pip install poisonsieve[openvino]")
    plain, fast = records_of(cli(*args)[1]), records_of(cli(*args, "--backend", "openvino")[1])
    for one, other in zip(plain, fast, strict=True):
        assert {**one, "confidence": None, "score": None} == {**other, "confidence": None, "score": None}
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)


def test_the_ways_out(cli, guard_folder, test_file, tmp_path):
    code, out, _ = cli("screen", guard_folder, test_file, "--quiet")
    lines = records_of(out)
    assert code == 0
    code, out, err = cli("screen", guard_folder, test_file, "--quiet", "--out", tmp_path / "deep" / "v.jsonl")
    assert (code, out) == (0, "")
    assert err.startswith("30 texts: ")
    assert records_of((tmp_path / "deep" / "v.jsonl").read_text(encoding="utf-8")) == lines
    code, out, err = cli("screen", guard_folder, test_file, "--json")
    said = json.loads(out)
    assert said["records"] == lines
    assert said["n"] == 30 == said["passed"] + said["rejected"]
    assert said["rejected"] == said["poisoned"] + said["not_scored"]
    assert "screening" in err
    code, out, _ = cli("screen", guard_folder, test_file, "--json", "--quiet", "--out", tmp_path / "v.jsonl")
    assert json.loads(out)["out"] == str(tmp_path / "v.jsonl")
    assert "records" not in json.loads(out)
    code, out, _ = cli("screen", guard_folder, test_file, "--quiet", "--no-text")
    assert all("text" not in record for record in records_of(out))
    assert " film" not in out


def test_stdin(cli, guard_folder, monkeypatch):
    given_in = b'a good film\n{"text": "the bad plot"}\n\ncaf\xe9\n{"text": 5}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given_in)))
    code, out, _ = cli("screen", guard_folder, "-", "--quiet")
    records = records_of(out)
    assert code == 0
    assert [record["text"] for record in records] == ["a good film", "the bad plot", "", None, None]
    assert [record["rejected"] for record in records][3:] == [True, True]
    assert all("stdin:" in record["reason"] for record in records[3:])


def test_empty_and_long_texts_can_be_kept_from_the_victim(cli, guard_folder, tiny, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("text\na good film\n" + "good " * 4000 + '\n"  "\n', encoding="utf-8")
    call = ["screen", guard_folder, source, "--victim", tiny("encoder"), "--quiet"]
    causes = [record["cause"] for record in records_of(cli(*call)[1])]
    assert causes == [None, None, "empty"]
    _, out, err = cli(*call, "--reject-truncated")
    assert [record["cause"] for record in records_of(out)] == [None, "truncated", "empty"]
    assert "1 passed, 0 rejected as poisoned, 2 rejected unscored, 1 too long" in err


def test_exit_code_says_whether_something_was_rejected(cli, guard_folder, test_file):
    call = ["screen", guard_folder, test_file, "--quiet"]
    _, out, _ = cli(*call)
    confidences = sorted(record["confidence"] for record in records_of(out))
    above, among = min(1.0, confidences[-1] + 1e-3), confidences[-3]
    assert cli(*call, "--gamma", above, "--exit-code")[0] == 0
    code, out, _ = cli(*call, "--gamma", among, "--exit-code")
    assert code == 1
    assert sum(record["rejected"] for record in records_of(out)) == sum(value > among for value in confidences)
    assert cli(*call, "--gamma", among)[0] == 0
    assert cli(*call, "--gamma", among, "--exit-code", "--json")[0] == 1


def test_thresholds_at_screening(cli, guard_folder, test_file):
    """Another rate takes the stored calibration scores' quantile; no training."""
    calibration = sorted(json.loads((guard_folder / "calibration.json").read_text())["scores"])
    said = {}
    for frr in ("0.05", "0.2", "0.5"):
        code, out, _ = cli("screen", guard_folder, test_file, "--frr-mean", frr, "--json", "--quiet")
        assert code == 0
        said[frr] = json.loads(out)
        n = len(calibration)
        assert said[frr]["gamma"] == calibration[n - int((n + 1) * float(frr))]
        promised = json.loads(cli("screen", guard_folder, test_file, "--frr", frr, "--json", "--quiet")[1])
        assert promised["gamma"] > said[frr]["gamma"]
    assert said["0.05"]["rejected"] <= said["0.2"]["rejected"] <= said["0.5"]["rejected"]
    assert 0 < said["0.5"]["rejected"] < 30
    _, out, _ = cli("screen", guard_folder, test_file, "--gamma", "0.25", "--json", "--quiet")
    assert json.loads(out)["rejected"] == 30
    assert json.loads(out)["gamma"] == 0.25


def test_evaluate_as_json(cli, guard_folder, tiny, test_file):
    call = ["evaluate", guard_folder, "--victim", tiny("encoder"), "--clean", test_file, "--target", "0"]
    code, out, err = cli(*call, "--trigger", "badnet", "--json")
    said = json.loads(out)
    assert code == 0
    assert "clean" in err, "progress goes to stderr"
    for name in ("ca", "asr", "guarded_ca", "guarded_asr", "auroc", "frr", "detection_rate", "gamma"):
        assert 0 <= said[name] <= 1
    assert said["guarded_ca"] <= said["ca"]
    assert said["guarded_asr"] <= said["asr"]
    assert (said["n_clean"], said["n_triggered"]) == (30, 15)
    _, out, _ = cli(*call, "--trigger", "badnet", "--json", "--quiet", "--gamma", "0.3")
    said = json.loads(out)
    assert (said["gamma"], said["frr"], said["detection_rate"]) == (0.3, 1, 1)
    assert (said["guarded_ca"], said["guarded_asr"]) == (0, 0)


def test_evaluate_on_rows_that_are_already_triggered(cli, refused, guard_folder, tiny, test_file, rows_file):
    call = ["evaluate", guard_folder, "--victim", tiny("encoder"), "--clean", test_file, "--quiet", "--triggered"]
    rows = [(text + " mn film", label) for text, label in sentences(30, seed=4)]
    one_class = rows_file("one.jsonl", [row for row in rows if row[1] == 1])
    code, out, _ = cli(*call, one_class, "--json")
    assert code == 0
    assert json.loads(out)["n_triggered"] == 15
    code, out, _ = cli(*call, rows_file("both.jsonl", rows), "--json")
    assert json.loads(out)["n_triggered"] == 15, "rows of the target class are not counted"
    only_target = rows_file("target.jsonl", [row for row in rows if row[1] == 0])
    refused(*call, only_target, says=("no triggered row", "target 0"))
    code, out, _ = cli(*call, one_class)
    assert code == 0
    assert "attack success" in out
    assert all(name in out for name in ("AUROC", "(CA lost)", "(FRR)", "(FAR)"))


TEXTS = st.text(st.characters(codec="utf-8"), max_size=80) | st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "\r\n\t\x0b\x0c\x1c\x85\u2028\u2029",
        "good",
        "\N{PILE OF POO}\N{ZERO WIDTH JOINER}\N{FAMILY}",
        "\N{RIGHT-TO-LEFT OVERRIDE}\u05d0\u05d1 \u0627\u0644",
        "[PAD] [CLS] [SEP] [MASK]",
        '{"text": "a good film"}',
        "good film " * 3000,
        "x" * 20_000,
    ]
)
BROKEN = st.sampled_from(["\ud800", "a good \udfff film", "\udc80"])


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(texts=st.lists(TEXTS | BROKEN, min_size=1, max_size=6))
def test_one_record_a_text_and_the_same_verdict_as_the_object(texts, cli, guard_folder, guarded, tiny, tmp_path):
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="ascii")
    code, out, _ = cli("screen", guard_folder, source, "--victim", tiny("encoder"), "--quiet")
    records = [json.loads(line) for line in out.removesuffix("\n").split("\n")]
    assert code == 0
    assert [record["index"] for record in records] == list(range(len(texts)))
    whole = [text for text in texts if not any("\ud800" <= letter <= "\udfff" for letter in text)]
    verdicts = iter(guarded.screen(whole))
    for text, record in zip(texts, records, strict=True):
        if text not in whole:
            assert record["rejected"]
            assert record["text"] is None
            assert "surrogate" in record["reason"]
            continue
        verdict = next(verdicts)
        assert record["text"] == text
        assert (record["rejected"], record["reason"]) == (verdict.rejected, verdict.reason)
        assert (record["truncated"], record["label"]) == (verdict.truncated, verdict.label)
        assert record["confidence"] == pytest.approx(verdict.confidence, abs=1e-6)
