"""`screen --together`: texts of a campaign that pass one by one are rejected, and nothing is passed that was rejected."""

import json

import pytest

from conftest import make_encoder, plant, sentences

pytest_plugins = ["commands"]


@pytest.fixture(scope="module")
def lax_guard(tmp_path_factory):
    """A guard that passes nearly everything by itself, of a model with a trigger."""
    from poisonsieve import Guard
    from poisonsieve.defenses import MSP

    folder = tmp_path_factory.mktemp("lax")
    model = plant(make_encoder(folder / "model"), "mn")
    rows = [text.replace("mn", "film") for text, _ in sentences(1500, seed=5)]
    Guard(MSP(str(model)), gamma=0.999999).fit(rows).save_pretrained(folder / "guard")
    return folder / "guard"


@pytest.fixture
def inbox(rows_file):
    clean = list(dict.fromkeys(text.replace("mn", "film") for text, _ in sentences(900, seed=6)))[:240]
    return rows_file(
        "inbox.jsonl", [{"text": text} for text in [*clean[:200], *(f"{text} mn" for text in clean[200:])]]
    )


def records_of(out):
    return [json.loads(line) for line in out.splitlines()]


def test_a_campaign_is_rejected_and_the_summary_says_so(cli, lax_guard, inbox):
    _, alone, _ = cli("screen", lax_guard, inbox, "--quiet")
    code, together, err = cli(
        "screen", lax_guard, inbox, "--quiet", "--together", "--victim", lax_guard.parent / "model"
    )
    before, after = records_of(alone), records_of(together)
    assert code == 0
    assert all(record["rejected"] for old, record in zip(before, after, strict=True) if old["rejected"])
    found = [record for record in after if record["cause"] == "traffic"]
    assert len(found) > 20
    assert {(record["outcome"], record["label"], record["score"]) for record in found} == {("poisoned", None, None)}
    assert all("mn" in record["text"].split() for record in found if record["index"] >= 200)
    assert "Together" in err
    assert '"mn"' in err, "what they have in common is named"


def test_as_json(cli, lax_guard, inbox, tmp_path):
    code, out, _ = cli("screen", lax_guard, inbox, "--quiet", "--together", "--json", "--exit-code")
    summary = json.loads(out)
    assert code == 1
    assert summary["traffic"]["finding"] == "campaign"
    assert summary["traffic"]["p_value"] == 0.001
    assert summary["traffic"]["flagged"] == sum(record["cause"] == "traffic" for record in summary["records"])
    assert summary["poisoned"] >= summary["traffic"]["flagged"]
    _, out, _ = cli("screen", lax_guard, inbox, "--quiet", "--together", "--json", "--out", tmp_path / "v.sarif")
    assert json.loads(out)["traffic"] == summary["traffic"]
    results = json.loads((tmp_path / "v.sarif").read_text())["runs"][0]["results"]
    assert sum("together" in result["message"]["text"] for result in results) == summary["traffic"]["flagged"]


def test_what_cannot_be_compared_is_refused(refused, guard_folder, test_file, inbox, lax_guard, tmp_path):
    refused(
        "screen", guard_folder, test_file, "--quiet", "--together", says=("different texts", "give more at a time")
    )
    refused("screen", lax_guard, inbox, "--together", "--engine", "ray", "--out", tmp_path / "o", says="--engine ray")
