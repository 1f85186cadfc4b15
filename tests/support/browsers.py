"""Chromium for the tests, with pages that collect their errors and warnings."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.support.prerequisites import missing
from tests.support.servers import ROOT
from tests.support.waiting import TIMEOUT

LAPTOP = {"width": 1280, "height": 800}
# For tests in which requests fail, so that pages report network errors.
failing_requests = pytest.mark.parametrize("requests_fail", [True])
AXE = ROOT / "tests" / "js" / "node_modules" / "axe-core" / "axe.min.js"
# The headless shell opens no windows and so takes a third of the CPU time of the full browser.
EXECUTABLES = ("chromium-headless-shell", "chromium", "google-chrome")
# Messages about failed requests, which come from the browser and not from the page.
NETWORK_ERROR = re.compile(r"Failed to load resource|WebSocket connection to|blocked by CORS")
REPORT_VIOLATIONS = """
    document.addEventListener("securitypolicyviolation", (event) =>
        console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""

# Storage is blocked.
BLOCKED = """for (const name of ["sessionStorage", "localStorage", "caches", "indexedDB"])
    Object.defineProperty(window, name, {
        get() { throw new DOMException("Access is denied for this document.", "SecurityError"); },
    });"""

# Features newer than Safari 15, Chromium 86 and Firefox 90, the oldest supported browsers.
OLDER = """for (const [object, ...names] of [
    [AbortSignal, "timeout", "any"],
    [AbortSignal.prototype, "throwIfAborted"],
    [Array, "fromAsync"],
    [Array.prototype, "at", "findLast", "findLastIndex", "toSorted", "toReversed", "with"],
    [String.prototype, "at", "isWellFormed"],
    [Object, "hasOwn", "groupBy"],
    [Promise, "withResolvers", "try"],
    [URL, "canParse"],
    [Crypto.prototype, "randomUUID"],
    [Navigator.prototype, "locks"],
    [Document.prototype, "adoptedStyleSheets"],
    [ShadowRoot.prototype, "adoptedStyleSheets"],
    [window, "structuredClone", "BroadcastChannel", "CSSStyleSheet", "scheduler"],
]) for (const name of names) delete object[name];"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium. Skips the test if none is installed."""
    path = next(filter(None, map(shutil.which, EXECUTABLES)), None)
    if not path:
        missing("Chromium is not installed")
    expect.set_options(timeout=TIMEOUT * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A page in a new browser context. `problems` has its errors and warnings."""

    def __init__(self, browser: Browser, url: str, **options: object) -> None:
        self.context = browser.new_context(locale="en-US", **options)
        self.context.set_default_timeout(TIMEOUT * 1000)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", self._add_message)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.add_init_script(REPORT_VIOLATIONS)
        self.url = url

    def _add_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def unexpected(self, requests_fail: bool) -> list[str]:
        """Return the problems, without those of failed requests if `requests_fail`."""
        return [
            problem
            for problem in self.problems
            if not (requests_fail and NETWORK_ERROR.search(problem))
        ]


def violations(page: Page, exclude: str | None = None) -> list[str]:
    """Return the accessibility violations that axe-core finds, except in one element."""
    if not AXE.exists():
        missing("axe-core is not installed")
    # Wait for the end of animations: half-transparent text has too little contrast.
    page.evaluate(
        "Promise.all(document.getAnimations().map((each) => each.finished.catch(() => null)))"
    )
    # The page's Content-Security-Policy forbids adding a script element.
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(AXE.read_text())
    found = page.evaluate(
        """(exclude) => axe.run(
            exclude ? {exclude: [exclude]} : document, {resultTypes: ["violations"]}
        ).then(({violations}) => violations)""",
        exclude,
    )
    return [
        f"{each['id']}: {[node['target'] for node in each['nodes']]} {each['help']}"
        for each in found
    ]
