"""Whatever the description allows and whatever it forbids, the service has an answer that is not its own fault."""

import os

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import GenerationMode
from serving import make_database, serving

pytest_plugins = ["serving"]

#: Requests in all; `make api-fuzz` sets 2,000.
CASES = int(os.environ.get("POISONSIEVE_API_CASES", "120"))


@pytest.fixture(scope="module")
def served(guarded, served_guard, request, tmp_path_factory):
    with serving(guarded, make_database(request, "sqlite", tmp_path_factory.mktemp("described"))) as running:
        for text in ("good film", "\ud800"):
            running.http.post("/v1/screen", json={"text": text} if text.isascii() else None)
        yield running


def test_no_request_gets_a_server_error(served):
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    variable = [
        operation for operation in operations if operation.body or operation.query or operation.path_parameters
    ]
    assert len(variable) == 7
    each = -(-CASES // len(variable) // 2)
    sent = 0
    for operation in operations:
        if operation not in variable:
            sent += try_operation(operation, GenerationMode.POSITIVE, 3)
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            sent += try_operation(operation, mode, each)
    assert sent >= CASES
    assert served.http.get("/healthz").status_code == 200


def try_operation(operation, mode, count):
    sent = [0]

    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def test(case):
        answer = case.call(timeout=30)
        sent[0] += 1
        assert answer.status_code < 500, (case.method, case.formatted_path, answer.status_code, answer.text[:300])

    test()
    return sent[0]
