"""An interrupt comes at any moment, and neither leaves something behind nor gets lost; a limit is one."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from prunekit import ledger as module
from prunekit import options
from prunekit.errors import FileError
from prunekit.interrupts import uninterrupted
from prunekit.ledger import Ledger


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C is what it is in a terminal, whoever runs the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def test_an_interrupt_waits_for_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt):
        with uninterrupted():
            with uninterrupted():
                interrupt()
                done.append("inner")
            done.append("outer")
        done.append("behind")
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_an_interrupt_nothing_happens():
    assert uninterrupted()(divmod)(7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        uninterrupted()(divmod)(7, 0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_is_not_hidden_by_an_error():
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        interrupt()
        raise ValueError


def test_where_interrupts_are_ignored_they_are():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with uninterrupted():
        interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_another_thread_leaves_the_handler_alone():
    found = []

    def look() -> None:
        with uninterrupted():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


# The ledger.


def measure(root: Path) -> None:
    ledger = Ledger(root)
    with ledger.run(command="x") as run:
        ledger.add("try", [{"n": 1}], ["n"], run)
        ledger.experiments()


class Moments:
    """Counts the moments at which an interrupt does harm, and interrupts at one of them.

    Those are: a file or a folder has been opened, or a lock been taken, and no line of Python knows of it yet; and a
    destructor begins, in which every exception is swallowed.
    """

    def __init__(self, at: int = 0):
        self.at, self.seen = at, 0

    def __call__(self, frame, event: str, argument) -> None:
        if (event == "c_return" and argument.__name__ in ("open", "flock", "scandir")) or (
            event == "call" and frame.f_code.co_name == "__del__"
        ):
            self.seen += 1
            if self.seen == self.at:
                sys.setprofile(None)
                interrupt()

    def during(self, call: Callable[[], None]) -> None:
        sys.setprofile(self)
        try:
            call()
        finally:
            sys.setprofile(None)


def test_an_interrupt_leaves_no_file_open_and_no_lock_taken_and_is_not_lost(tmp_path, monkeypatch):
    """What a file left open says is an error of this test, like every warning."""
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    measure(tmp_path / "first")  # what is found out once, like the version of the code
    moments = Moments()
    moments.during(lambda: measure(tmp_path / "whole"))
    assert moments.seen > 20
    for at in range(1, moments.seen + 1):
        root = tmp_path / str(at)
        with pytest.raises(KeyboardInterrupt):
            Moments(at).during(lambda root=root: measure(root))
        measure(root)


def test_an_interrupt_ends_the_wait_for_another_writer(tmp_path, monkeypatch):
    ledger, tried = Ledger(tmp_path), []
    lock = ledger._lock

    def busy() -> None:
        assert lock() is None
        tried.append(len(tried))
        if len(tried) == 3:
            interrupt()

    monkeypatch.setattr(ledger, "_lock", busy)
    ledger.folder.mkdir()
    with FileLock(ledger.folder / ".lock"), pytest.raises(KeyboardInterrupt), ledger._locked():
        pass
    assert tried == [0, 1, 2], "it waited on, or did not wait"


def test_a_writer_that_does_not_end_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    ledger = Ledger(tmp_path)
    ledger.folder.mkdir()
    with FileLock(ledger.folder / ".lock"), pytest.raises(FileError, match=r"digits/\.lock has been locked by another"):
        measure(tmp_path)
    measure(tmp_path)


# A limit.


def test_a_limit_ends_what_would_last_longer(capsys):
    with options.stopping_after(0.05):
        for _ in range(6000):  # in pieces: only between two instructions is Python interrupted
            time.sleep(0.01)
        raise AssertionError("a minute is over")
    assert capsys.readouterr().out.startswith("Time is up.")


def test_ctrl_c_is_no_limit(capsys):
    before = threading.enumerate()
    with pytest.raises(KeyboardInterrupt), options.stopping_after(3600):
        interrupt()
    assert capsys.readouterr().out == ""
    assert set(threading.enumerate()) <= set(before), "the timer goes on"


def test_a_limit_that_is_up_when_all_is_done_is_no_error(monkeypatch, capsys):
    class Late(threading.Timer):
        def start(self) -> None: ...

        def join(self, timeout: float | None = None) -> None: ...

        def cancel(self) -> None:
            self.function()

    monkeypatch.setattr(options.threading, "Timer", Late)
    with options.stopping_after(3600):
        pass
    assert capsys.readouterr().out.startswith("Time is up.")
