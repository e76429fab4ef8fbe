"""When something fails, nothing passes, and nothing is answered that is not on record."""

import concurrent.futures
import contextlib
import threading
import time

import httpx
import numpy as np
import pytest
import torch
from serving import make_database, serving, wait_for

pytest_plugins = ["serving"]


def screen(served, texts, path="/v1/screen"):
    return served.http.post(path, json={"texts": texts})


def metric(served, name):
    lines = served.http.get("/metrics").text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)}


@contextlib.contextmanager
def breaking(classifier, damage):
    """Every forward pass of the classifier goes through `damage(logits, input_ids)` meanwhile."""
    network = classifier.network
    whole = network.forward

    def forward(*args, **kwargs):
        result = whole(*args, **kwargs)
        ids = kwargs.get("input_ids")
        return damage(result, ids)

    network.forward = forward
    try:
        yield
    finally:
        del network.forward


def nan_for(token):
    def damage(result, ids):
        hit = (ids == token).any(dim=1)
        result.logits = torch.where(hit.unsqueeze(1), torch.tensor(float("nan")), result.logits)
        return result

    return damage


def exception_for(token):
    def damage(result, ids):
        if (ids == token).any():
            raise RuntimeError("SECRET words of the text")
        return result

    return damage


@pytest.fixture(scope="module")
def served(guarded, served_guard, request, tmp_path_factory):
    with serving(guarded, make_database(request, "sqlite", tmp_path_factory.mktemp("closed"))) as running:
        yield running


@pytest.mark.parametrize(
    ("damage", "reason", "kind"),
    [
        (nan_for, "model gave a result that is not a finite number", "not_finite"),
        (exception_for, "model failed: RuntimeError", "exception"),
    ],
)
def test_a_model_error_rejects_its_text_alone_and_is_counted(damage, reason, kind, served, guarded, texts):
    good = [text for text in texts["passed"] if "watched" not in text][:3]
    token = guarded.guard.classifier.tokenizer.convert_tokens_to_ids("watched")
    name = f'poisonsieve_unscorable_total{{kind="{kind}"}}'
    before = metric(served, "poisonsieve_unscorable")[name]
    with breaking(guarded.guard.classifier, damage(token)):
        verdicts = screen(served, [good[0], "i watched it", good[1]], "/v1/classify").json()["verdicts"]
    assert [v["rejected"] for v in verdicts] == [False, True, False]
    assert [v["cause"] for v in verdicts] == [None, kind, None]
    assert (verdicts[1]["reason"], verdicts[1]["confidence"], verdicts[1]["label"]) == (reason, None, None)
    assert metric(served, "poisonsieve_unscorable")[name] == before + 1
    newest = served.http.get("/v1/quarantine").json()["items"][0]
    assert (newest["text"], newest["reason"], newest["confidence"]) == ("i watched it", reason, None)
    assert (newest["outcome"], newest["cause"]) == ("not_scored", kind)


def test_a_victim_that_fails_rejects_too(served, guarded, texts):
    before = metric(served, "poisonsieve_unscorable")['poisonsieve_unscorable_total{kind="victim"}']
    with breaking(guarded.victim, lambda result, ids: 1 / 0):
        verdict = screen(served, [texts["passed"][0]], "/v1/classify").json()["verdicts"][0]
    assert (verdict["rejected"], verdict["reason"]) == (True, "victim: model failed: ZeroDivisionError")
    assert (verdict["outcome"], verdict["cause"]) == ("not_scored", "victim")
    assert verdict["label"] is None
    assert metric(served, "poisonsieve_unscorable")['poisonsieve_unscorable_total{kind="victim"}'] == before + 1


def test_a_detector_that_raises_rejects_everything(served, guarded, texts, monkeypatch):
    monkeypatch.setattr(type(guarded.guard.detector), "_score", lambda *args, **kwargs: 1 / 0)
    verdicts = screen(served, texts["passed"][:3]).json()["verdicts"]
    assert [(v["rejected"], v["reason"]) for v in verdicts] == [(True, "model failed: ZeroDivisionError")] * 3


def test_a_model_that_cannot_infer_never_makes_the_service_ready(guarded, served_guard, tmp_path, caplog):
    with (
        breaking(guarded.guard.classifier, lambda result, ids: 1 / 0),
        serving(guarded, f"sqlite:///{tmp_path / 'q.sqlite'}", wait=False) as served,
    ):
        wait_for(lambda: "the warm-up inference failed: model failed: ZeroDivisionError" in caplog.text)
        assert served.http.get("/readyz").status_code == 503
        assert served.http.get("/healthz").status_code == 200


def test_a_model_that_hangs_is_late_and_then_unhealthy(guarded, served_guard, tmp_path, texts):
    hang = threading.Event()

    def waiting(result, ids):
        assert hang.wait(30)
        return result

    limits = {"request_timeout_s": 0.5, "stall_s": 1.0}
    with serving(guarded, f"sqlite:///{tmp_path / 'q.sqlite'}", **limits) as served:
        with breaking(guarded.guard.classifier, waiting):
            assert screen(served, texts["passed"][:1]).status_code == 504
            wait_for(lambda: served.http.get("/healthz").status_code == 503, 5)
            hang.set()
            wait_for(lambda: served.http.get("/healthz").status_code == 200, 5)
        assert screen(served, texts["passed"][:1]).status_code == 200


def test_beyond_the_queue_load_is_shed_and_the_rest_is_right(guarded, served_guard, tmp_path, texts):
    def slow(result, ids):
        time.sleep(0.05)
        return result

    known = dict.fromkeys(texts["passed"], False) | dict.fromkeys(texts["rejected"], True)
    asked = list(known)[:8] + list(known)[-8:]
    limits = {"max_queue_texts": 16, "max_request_texts": 8, "explain_words": 8, "max_batch_texts": 4}
    with (
        serving(guarded, f"sqlite:///{tmp_path / 'q.sqlite'}", **limits) as served,
        breaking(guarded.guard.classifier, slow),
    ):

        def ask(number):
            chosen = [asked[(number + i) % 16] for i in range(4)]
            return chosen, screen(served, chosen)

        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(ask, range(96)))
        shed = [answer for _, answer in answers if answer.status_code == 503]
        right = [(chosen, answer) for chosen, answer in answers if answer.status_code == 200]
        assert len(shed) + len(right) == 96
        assert len(shed) > 0 and len(right) > 0
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in shed)
        for chosen, answer in right:
            assert [v["rejected"] for v in answer.json()["verdicts"]] == [known[text] for text in chosen]
        assert metric(served, "poisonsieve_shed_total")['poisonsieve_shed_total{full="queue"}'] == len(shed)
        assert screen(served, asked[:2]).status_code == 200


def test_a_full_or_locked_sqlite_fails_closed_and_recovers(guarded, served_guard, tmp_path, texts):
    import sqlite3

    path = tmp_path / "q.sqlite"
    with serving(guarded, f"sqlite:///{path}", commit_timeout_s=0.5) as served:
        assert screen(served, texts["rejected"][:1]).status_code == 200
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        refused = screen(served, texts["rejected"][:1])
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert "verdicts" not in refused.json()
        assert screen(served, texts["passed"][:2]).status_code == 200  # nothing of this has to be recorded
        blocker.execute("ROLLBACK")
        blocker.close()
        wait_for(lambda: screen(served, texts["rejected"][:1]).status_code == 200, 20)


class TestPostgresGoesAway:
    def test_it_fails_closed_and_recovers_by_itself(self, guarded, served_guard, postgres, texts):
        with serving(guarded, postgres.database()) as served:
            assert screen(served, texts["rejected"][:2]).status_code == 200
            stop = threading.Event()
            answers = []
            load = [threading.Thread(target=self.ask, args=(served, texts, i, stop, answers)) for i in range(4)]
            for thread in load:
                thread.start()
            try:
                time.sleep(0.5)
                postgres.stop()
                time.sleep(0.3)
                down_from = time.monotonic()
                time.sleep(1.5)
                down_until = time.monotonic()
            finally:
                postgres.start()
            wait_for(lambda: screen(served, texts["rejected"][:1]).status_code == 200, 20)
            wait_for(lambda: metric(served, "poisonsieve_quarantine_up")["poisonsieve_quarantine_up"] == 1, 20)
            time.sleep(0.3)
            stop.set()
            for thread in load:
                thread.join(30)
            self.check(served, answers, texts, down_from, down_until)

    def ask(self, served, texts, number, stop, answers):
        with httpx.Client(base_url=served.url, timeout=30) as client:
            turn = 0
            while not stop.is_set():
                kind = "rejected" if (number + turn) % 2 else "passed"
                text = texts[kind][turn % 10]
                started = time.monotonic()
                answer = client.post("/v1/screen", json={"text": text})
                identity = answer.headers["x-request-id"]
                answers.append((kind, started, time.monotonic(), answer.status_code, identity))
                turn += 1

    def check(self, served, answers, texts, down_from, down_until):
        assert {status for _, _, _, status, _ in answers} == {200, 503}
        assert all(status == 200 for kind, _, _, status, _ in answers if kind == "passed")
        while_down = [a for a in answers if a[0] == "rejected" and a[1] > down_from and a[2] < down_until]
        assert while_down and all(status == 503 for _, _, _, status, _ in while_down)
        answered = {identity for kind, _, _, status, identity in answers if kind == "rejected" and status == 200}
        recorded = set()
        page = 1
        while items := served.http.get(f"/v1/quarantine?size=200&page={page}").json()["items"]:
            recorded |= {item["request_id"] for item in items}
            page += 1
        assert answered and answered <= recorded

    def test_review_says_so_too(self, guarded, served_guard, postgres):
        with serving(guarded, postgres.database()) as served:
            assert served.http.get("/v1/quarantine").status_code == 200
            postgres.stop()
            try:
                answers = [
                    served.http.get("/v1/quarantine"),
                    served.http.get("/v1/quarantine/1"),
                    served.http.post("/v1/quarantine/1/decision", json={"decision": "poison"}),
                ]
                assert [(a.status_code, a.headers["retry-after"]) for a in answers] == [(503, "5")] * 3
                assert served.http.get("/readyz").status_code == 200
            finally:
                postgres.start()
            wait_for(lambda: served.http.get("/v1/quarantine").status_code == 200, 20)


def test_counts_that_could_not_be_written_are_written_later(guarded, served_guard, postgres, texts):
    from poisonsieve.guard.folder import digest as guard_digest
    from poisonsieve.serve.quarantine import Quarantine
    from poisonsieve.serve.tables import open_database

    where = postgres.database()
    with serving(guarded, where) as served:
        assert screen(served, texts["passed"][:3]).status_code == 200
        postgres.stop()
        try:
            assert screen(served, texts["passed"][:5]).status_code == 200
            time.sleep(0.5)
        finally:
            postgres.start()
        engine = open_database(where)
        wait_for(lambda: Quarantine(engine).passed(guard_digest(served_guard)) == 8, 20)
        engine.dispose()
    assert np.isfinite(served.service.facts.gamma)
