"""Traffic for the watch: a guard that sees nothing by itself, clean texts, and a campaign among them."""

import pytest

from conftest import make_encoder, plant, sentences

#: Every check at the level of 1%, after every request of 50 texts.
EAGER = {"watch_interval_s": 0.2, "watch_false_alarm_days": 1e-4, "watch_min_texts": 50}


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """A guard that by itself passes everything, of a model with a trigger."""
    from poisonsieve import Guard, GuardedClassifier
    from poisonsieve.defenses import MSP

    model = plant(make_encoder(tmp_path_factory.mktemp("model")), "mn")
    rows = [text.replace("mn", "film") for text, _ in sentences(1500, seed=5)]
    folder = tmp_path_factory.mktemp("blind") / "guard"
    Guard(MSP(str(model)), gamma=0.999999).fit(rows).save_pretrained(folder)
    return GuardedClassifier.from_pretrained(folder)


@pytest.fixture(scope="module")
def clean():
    return list(dict.fromkeys(text.replace("mn", "film") for text, _ in sentences(900, seed=6)))[:300]


def campaign(clean):
    """200 texts, the last fifth of them triggered."""
    return [*clean[:160], *(f"{text} mn" for text in clean[160:200])]


def send(served, texts):
    """Screen the texts, which must all pass; the ids of the requests."""
    ids = []
    for start in range(0, len(texts), 50):
        answer = served.http.post("/v1/screen", json={"texts": texts[start : start + 50]}).raise_for_status().json()
        assert not any(verdict["rejected"] for verdict in answer["verdicts"])
        ids.append(answer["request_id"])
    return ids


def watched(served):
    return served.http.get("/v1/watch").raise_for_status().json()
