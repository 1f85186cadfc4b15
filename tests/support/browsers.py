"""Chromium for the tests: pages that report whatever went wrong in them."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.prerequisites import missing
from tests.support.servers import ROOT
from tests.support.waiting import TIMEOUT

AXE = ROOT / "tests" / "js" / "node_modules" / "axe-core" / "axe.min.js"
# The first is Chromium without all that a window needs, which most of the time goes into.
EXECUTABLES = ("chromium-headless-shell", "chromium", "google-chrome")
# The browser's own word on a request that was refused or failed, which no page can prevent.
OF_THE_NETWORK = re.compile(r"Failed to load resource|WebSocket connection to|blocked by CORS")
REPORT_VIOLATIONS = """
    document.addEventListener("securitypolicyviolation", (event) =>
        console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run one Chromium, without a window."""
    path = next(filter(None, map(shutil.which, EXECUTABLES)), None)
    if not path:
        missing("Chromium is not installed")
    expect.set_options(timeout=TIMEOUT * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A page in a context of its own. `problems` has what it complained of."""

    def __init__(self, browser: Browser, url: str, **options: object) -> None:
        self.context = browser.new_context(locale="en-US", **options)
        self.context.set_default_timeout(TIMEOUT * 1000)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda said: said.type in ("error", "warning") and self._note(said))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.add_init_script(REPORT_VIOLATIONS)
        self.url = url

    def _note(self, said: object) -> None:
        self.problems.append(said.text)

    def unexpected(self, requests_fail: bool) -> list[str]:
        """Return the problems, but for requests that failed where the test wants them to."""
        return [
            problem
            for problem in self.problems
            if not (requests_fail and OF_THE_NETWORK.search(problem))
        ]


def stand_still(page: Page) -> None:
    """Wait until nothing in the page moves or fades any more."""
    page.evaluate(
        "Promise.all(document.getAnimations().map((each) => each.finished.catch(() => null)))"
    )


def violations(page: Page, exclude: str | None = None) -> list[str]:
    """Return what axe-core finds wrong with the page as it is, but for one element."""
    if not AXE.exists():
        missing("axe-core is not installed")
    stand_still(page)  # what is half faded in has hardly any contrast
    # Evaluated, not added as a script: that is what the page's policy forbids.
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        """(exclude) => axe.run(exclude ? {exclude: [exclude]} : document)
            .then(({violations}) => violations)""",
        exclude,
    )
    return [
        f"{each['id']}: {[node['target'] for node in each['nodes']]} {each['help']}"
        for each in found
    ]
