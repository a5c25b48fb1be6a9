"""Ctrl-C, and a time limit that works as Ctrl-C does, wait until a file is closed and a lock is given back.

An interrupt is an exception that Python raises between any two instructions. Between the opening of a file and the
first line that knows of it, it leaves the file open; between the taking of a lock and that line, it leaves the lock
taken, and the process waits for itself; in a destructor it is swallowed, and what it should have ended goes on.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Inside, an interrupt is kept, and raised at the end. For what takes milliseconds; also as a decorator."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # nothing is raised here: Python interrupts its main thread only, and only where it handles the signal
        return
    kept = []
    signal.signal(signal.SIGINT, lambda *arrived: kept.append(arrived))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if kept:
            before(*kept[0])
