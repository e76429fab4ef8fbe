"""A real Chromium to open the page of a running service in. It is Debian's; none is ever downloaded."""

import contextlib
import os
import shutil
import time
from urllib.parse import urlsplit

import pytest

from conftest import sentences

ARGUMENTS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage""".split()  # noqa: SIM905
WAIT_MS = 60_000  # what takes milliseconds can take long on a busy machine


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
        self.until("document.querySelector('#position').textContent !== ''")
        return self

    def until(self, expression, argument=None):
        """Until an expression, or a function of the argument, is true in the page.

        Playwright's own way to wait for that compiles strings in the page, which the content security policy refuses.
        """
        end = time.monotonic() + WAIT_MS / 1000
        while not self.page.evaluate(expression, argument):
            assert time.monotonic() < end, f"it did not come true: {expression} {argument}"
            self.page.wait_for_timeout(30)

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
            # What is under way for a tenth of a second is looked at before or after by chance: nothing moves, unless asked.
            context = browser.new_context(**{"reduced_motion": "reduce", **options})
            stack.callback(context.close)
            visits.append(Visit(context, url + "/"))
            return visits[-1].open()

        yield go
    for each in visits:
        origins = {request.url.partition("//")[2].partition("/")[0] for request in each.requests}
        assert origins == {urlsplit(each.url).netloc}, "the page asked somebody else"
        assert each.complaints == []


@pytest.fixture(scope="session")
def sharp(served_guard, tiny, tmp_path_factory):
    """The guard with its head turned up, so that single words move the confidence; calibrated on that."""
    from poisonsieve import GuardedClassifier

    made = GuardedClassifier.from_pretrained(served_guard, tiny("encoder"))
    sharpen(made.guard)
    made.guard.save_pretrained(tmp_path_factory.mktemp("sharp") / "guard")
    return made


def sharpen(guard):
    """Move and stretch the head's two logits so that their difference is 0 on average, and 1 apart from that."""
    import torch

    clean = [text for text, _ in sentences(200, seed=4)]
    logits = guard.classifier.score(clean).values
    difference = logits[:, 1] - logits[:, 0]
    parameters = dict(guard.classifier.network.named_parameters())
    weight, bias = (
        parameters[f"base_model.classifier.modules_to_save.default.{name}"] for name in ("weight", "bias")
    )
    with torch.no_grad():
        bias[1] -= difference.mean()
        for values in (weight, bias):
            values.mul_(1 / difference.std())
    guard.calibrate(clean)


@pytest.fixture(scope="session")
def sharp_texts(sharp):
    """`sharp_texts["passed"]` and `sharp_texts["rejected"]`: texts of many words that it clearly says that of."""
    found = {"passed": [], "rejected": []}
    for text in sorted({text for text, _ in sentences(400, seed=5) if len(text.split()) > 5}):
        verdict = sharp.judge([text])[0]
        if abs(verdict.confidence - verdict.gamma) > 0.002:
            found[verdict.verdict].append(text)
    assert min(map(len, found.values())) >= 2, {name: len(each) for name, each in found.items()}
    return found


@pytest.fixture(scope="session")
def strict(served_guard, tiny, tmp_path_factory):
    """The same with so low a gamma that it rejects every text."""
    from poisonsieve import GuardedClassifier

    made = GuardedClassifier.from_pretrained(served_guard, tiny("encoder"))
    sharpen(made.guard)
    made.guard.set_threshold(gamma=0.01)
    made.guard.save_pretrained(tmp_path_factory.mktemp("strict") / "guard")
    return made


def sqlite_in(folder):
    return f"sqlite:///{folder / 'quarantine.sqlite'}"
