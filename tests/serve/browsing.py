"""A real Chromium to open the page of a running service in. It is Debian's; none is ever downloaded."""

import contextlib
import os
import shutil
from urllib.parse import urlsplit

import pytest

ARGUMENTS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()  # noqa: SIM905
WAIT_MS = 20_000  # for what happens in milliseconds on a machine that is not busy


def find_chromium():
    """Its path, or None."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


@pytest.fixture(scope="module")
def browser():
    """A browser for one file of tests.

    Not for the whole session: while Playwright runs, its event loop counts as this thread's, and tests of asyncio fail.
    """
    api = pytest.importorskip("playwright.sync_api", reason="the page is not tested: pip install playwright")
    executable = find_chromium()
    if executable is None:
        pytest.skip("the page is not tested, for there is no browser: apt-get install chromium")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield running
        running.close()


class Visit:
    """A page that is open, and what it did.

    Attributes:
        page: Playwright's page.
        requests: all requests that the browser made for it.
        complaints: errors that reached its console: exceptions, and what the content security policy refused.
    """

    def __init__(self, context, url):
        self.url = url
        self.page = context.new_page()
        self.requests = []
        self.complaints = []
        self.page.set_default_timeout(WAIT_MS)
        context.on("request", lambda request: self.requests.append(request))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._console)

    def open(self):
        self.page.goto(self.url)
        return self

    def _console(self, message):
        # What could not be fetched is said by the page; it is no fault of the page's code.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def loaded(self):
        """Until guard, counts and quarantine are shown."""
        self.page.locator("#connection[data-state=live]").wait_for()
        self.page.wait_for_function("document.querySelector('#position').textContent !== ''")
        return self

    def asked(self, path):
        """The requests for a path below the service's address."""
        return [request for request in self.requests if urlsplit(request.url).path == path]

    def text(self, selector):
        return self.page.locator(selector).inner_text()


@pytest.fixture
def visit(browser):
    """`visit(url, **options of the context)`: opens the page. Nothing but its own service may have been asked."""
    visits = []
    with contextlib.ExitStack() as stack:

        def go(url, **options):
            context = browser.new_context(**options)
            stack.callback(context.close)
            visits.append(Visit(context, url + "/"))
            return visits[-1].open()

        yield go
    for each in visits:
        origins = {request.url.partition("//")[2].partition("/")[0] for request in each.requests}
        assert origins == {urlsplit(each.url).netloc}, "the page asked somebody else"
        assert each.complaints == []


@pytest.fixture(scope="session")
def strict(served_guard, tiny):
    """The guard with so low a gamma that it rejects every text."""
    from poisonsieve import GuardedClassifier

    made = GuardedClassifier.from_pretrained(served_guard, tiny("encoder"))
    made.guard.set_threshold(gamma=0.01)
    return made


def sqlite_in(folder):
    return f"sqlite:///{folder / 'quarantine.sqlite'}"
