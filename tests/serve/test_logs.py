"""No text and no key in the log, whatever happens."""

import json
import signal
import time

import httpx
import pytest
from serving import serving

pytest_plugins = ["serving"]

KEY = "key-xyzzy-0123456789"
WRONG = "wrong-plugh-0123456789"
SECRETS = [KEY, WRONG, "hunter22", "frobnicate", "quuxword", "notesecret", "idsecret", "pathsecret"]


def test_no_text_and_no_key_is_logged(commands, served_guard, tiny, postgres, tmp_path, texts):
    where = postgres.database().replace("postgres:@", "postgres:hunter22@")
    keys = tmp_path / "keys"
    keys.write_text(KEY + "\n")
    log = tmp_path / "log"
    command = commands(served_guard, tiny("encoder"), where, log, "--api-key-file", keys)
    command.wait_ready()
    with httpx.Client(base_url=command.url, headers={"X-API-Key": KEY}, timeout=60) as http:
        rejected = [f"{texts['rejected'][0]} frobnicate", *texts["rejected"][:3]]
        statuses = [
            http.post("/v1/classify", json={"texts": [*rejected, "frobnicate"]}).status_code,
            http.post("/v1/screen", json={"text": ["frobnicate"]}).status_code,
            http.post("/v1/screen", content=b'{"text": "frobnicate').status_code,
            http.post("/v1/explain", json={"text": "frobnicate good film"}).status_code,
            http.get("/v1/quarantine", params={"q": "quuxword", "decision": "all"}).status_code,
            http.get("/v1/quarantine", params={"decision": "quuxword"}).status_code,
            http.post("/v1/quarantine/1/decision", json={"decision": "poison", "note": "notesecret"}).status_code,
            http.get("/v1/quarantine/1", headers={"X-Request-ID": "idsecret frobnicate"}).status_code,
            http.get("/pathsecret/quuxword", params={"X-API-Key": KEY}).status_code,
            http.get("/v1/guard", headers={"X-API-Key": WRONG}).status_code,
            http.get("/v1/guard", headers={"Authorization": f"Bearer {KEY}", "X-API-Key": ""}).status_code,
        ]
        assert statuses == [200, 422, 415, 200, 200, 422, 200, 200, 404, 401, 401]
        postgres.stop()  # now the driver's errors, which know password and parameters, are at hand
        try:
            assert http.post("/v1/screen", json={"texts": rejected}).status_code == 503
            assert http.get("/v1/quarantine", params={"q": "quuxword"}).status_code == 503
        finally:
            postgres.start()
        time.sleep(0.2)
    command.end(signal.SIGTERM)
    logged = log.read_text()
    assert " POST /v1/classify 200 " in logged.replace("INFO poisonsieve.serve.access", "")
    assert "the quarantine cannot be written: OperationalError" in logged
    assert [secret for secret in SECRETS if secret in logged] == []
    assert [text for text in texts["rejected"] if text in logged] == []


def test_a_defect_is_logged_by_where_and_type(served_guard, guarded, tmp_path, monkeypatch, caplog):
    with serving(guarded, f"sqlite:///{tmp_path / 'q.sqlite'}") as served:

        def broken(*args, **kwargs):
            raise KeyError("frobnicate")

        monkeypatch.setattr(type(served.service), "explain", broken)
        with caplog.at_level("INFO"):
            answer = served.http.post("/v1/explain", json={"text": "frobnicate"})
    assert (answer.status_code, answer.json()) == (500, {"detail": "internal error"})
    assert answer.headers["x-request-id"] in caplog.text
    assert "KeyError in broken (test_logs.py:" in caplog.text
    assert "frobnicate" not in caplog.text


@pytest.mark.parametrize("text", ["frobnicate \ud800", "frobnicate \0"])
def test_a_failing_write_names_the_error_alone(text, served_guard, guarded, tmp_path, caplog, monkeypatch):
    from poisonsieve.serve.tables import records

    with serving(guarded, f"sqlite:///{tmp_path / 'q.sqlite'}") as served:
        with served.service.quarantine.engine.begin() as connection:
            connection.exec_driver_sql(f"DROP TABLE {records.name}")
        monkeypatch.setattr(guarded, "judge", lambda texts: 1 / 0)
        with caplog.at_level("INFO"):
            body = {"text": text}
            answer = served.http.post(
                "/v1/screen", content=json.dumps(body), headers={"Content-Type": "application/json"}
            )
    assert answer.status_code == 503
    assert "frobnicate" not in caplog.text
    assert "the quarantine cannot be written: OperationalError" in caplog.text


def test_a_warning_of_ours_is_a_line_of_the_log(capsys, monkeypatch):
    import logging
    import warnings

    from poisonsieve.errors import PoisonsieveWarning
    from poisonsieve.serve.running import logging_on_stderr

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    with logging_on_stderr():
        warnings.simplefilter("ignore")
        for _ in range(2):
            warnings.warn("the model is odd", PoisonsieveWarning, stacklevel=2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("WARNING poisonsieve.serve the model is odd")


def test_the_log_says_when_and_where_and_is_not_filled_by_who_only_looks(commands, served_guard, tiny, tmp_path):
    log = tmp_path / "log"
    database = f"sqlite:///{tmp_path / 'q.sqlite'}"
    command = commands(served_guard, tiny("encoder"), database, log, "--reject-truncated")
    command.wait_ready()
    with httpx.Client(base_url=command.url, timeout=60) as http:
        looked = ["/", "/v1/stats", "/v1/watch", "/v1/quarantine", "/healthz", "/readyz", "/metrics"]
        assert [http.get(path).status_code for path in looked] == [200] * len(looked)
        assert http.get("/v1/quarantine/99").status_code == 404
        answer = http.post("/v1/classify", json={"texts": ["good " * 600, " "]})
    assert [each["cause"] for each in answer.json()["verdicts"]] == ["truncated", "empty"]
    command.end(signal.SIGTERM)
    logged = log.read_text()
    loading, ready = f"{command.url}: loading the guard {served_guard}", f"ready: the page is {command.url}/,"
    assert -1 < logged.find(loading) < logged.find(ready)
    told = [tuple(line.split()[4:7]) for line in logged.splitlines() if "serve.access" in line]
    assert [line for line in told if line != ("GET", "/readyz", "503")] == [  # asked before it was ready
        ("GET", "/v1/quarantine/{number}", "404"),
        ("POST", "/v1/classify", "200"),
    ]
