"""The description of the endpoints in a real browser, from the service's own files alone."""

import pytest
from browsing import sqlite_in
from serving import serving

pytest_plugins = ["serving", "browsing"]


@pytest.fixture
def served(guarded, served_guard, tmp_path):
    with serving(guarded, sqlite_in(tmp_path), api_keys=("s" * 20,)) as running:
        yield running


def test_the_endpoints_are_shown_and_can_be_tried_without_a_network(visit, served):
    shown = visit(served.url + "/docs")  # `visit` fails where anything else than the service is asked, or refused
    shown.page.get_by_text("Verdicts of the guard").wait_for()
    assert shown.page.locator(".opblock").count() >= 12
    shown.page.get_by_role("button", name="get /v1/guard", exact=False).first.click()
    shown.page.get_by_role("button", name="Try it out").click()
    shown.page.get_by_role("button", name="Execute", exact=True).click()
    shown.page.locator(".live-responses-table").get_by_text("401").first.wait_for()


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/swagger/swagger-ui.css", "/docs/docs.js"])
def test_no_key_is_needed_to_read_it(served, path):
    answer = served.http.get(path, headers={"X-API-Key": ""}, follow_redirects=True)
    assert answer.status_code == 200


def test_without_swagger_the_description_is_linked(guarded, served_guard, tmp_path, monkeypatch):
    from poisonsieve.serve import app

    monkeypatch.setattr(app, "_SWAGGER", ("no_such_package", "static"))
    with serving(guarded, sqlite_in(tmp_path)) as running:
        page = running.http.get("/docs/").text
        assert 'href="../openapi.json"' in page and "fastapi-offline" in page
        assert running.http.get("/swagger/swagger-ui.css").status_code == 404
