"""Start the Chromium that is on this machine: the system's own, or the one that Playwright installed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, Playwright, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
REMEDY = (
    "No Chromium is installed. `apt-get install chromium` gets it on Debian or Ubuntu; "
    "elsewhere `.venv/bin/python -m playwright install chromium` does."
)
PATIENCE = 180_000  # milliseconds: a busy machine takes long to start a browser and to set a page full of formulas


class ChromiumMissing(Exception):
    """There is no Chromium here; the message says how to get one."""


def find(playwright: Playwright) -> str:
    """The path of the program.

    Raises:
        ChromiumMissing: there is none; says how to get it.
    """
    own = playwright.chromium.executable_path
    for path in (*map(shutil.which, NAMES), own):
        if path and Path(path).is_file():
            return path
    raise ChromiumMissing(REMEDY)


@contextmanager
def started() -> Iterator[Browser]:
    """A browser without a window, for as long as the block lasts. Raises what `find` does."""
    with sync_playwright() as playwright:
        # Containers often give /dev/shm 64 MB, on which a long page dies.
        flags = ["--disable-gpu", "--disable-dev-shm-usage", "--font-render-hinting=none"]
        browser = playwright.chromium.launch(executable_path=find(playwright), args=flags, timeout=PATIENCE)
        try:
            yield browser
        finally:
            browser.close()


def show(page: Page, address: str) -> None:
    """Open an address, and wait until its scripts have run, its formulas are set and its fonts are there."""
    page.set_default_timeout(PATIENCE)
    page.goto(address, wait_until="load", timeout=PATIENCE)
    page.evaluate("async () => { await window.MathJax?.startup?.promise; await document.fonts.ready; }")
