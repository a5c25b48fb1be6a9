"""What several files of tests share: one thread per process, one browser per file, one site for all."""

from collections.abc import Iterator
from pathlib import Path

import building
import pytest
import torch
from filelock import FileLock
from playwright.sync_api import Browser

import chromium

# The tests run side by side, and networks this small gain nothing from a second core.
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for one file: its event loop would get into the way of nbval if it were open for the whole session."""
    try:
        with chromium.started() as browser:
            yield browser
    except chromium.ChromiumMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The site, built once from what is committed, by the worker that needs it first; the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    to = (base if worker_id == "master" else base.parent) / "site"
    with FileLock(to.with_suffix(".lock")):
        said = to.with_suffix(".said")  # what the build said, and first its status
        if not said.is_file():
            status, words = building.built(building.ROOT, to)
            said.write_text(f"{status}\n{words}", encoding="utf-8")
    status, _, words = said.read_text(encoding="utf-8").partition("\n")
    assert status == "0", words
    return to / "_build" / "html"
