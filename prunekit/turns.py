"""Several jobs in one process, one for each stream of a GPU, that take turns at all but waiting for it.

Small networks leave most of a GPU idle, so several are trained at once. But following a network with `torch.fx`,
drawing weights and recording a CUDA graph are things that only one thread of a process can do at a time. So a job has
the turn, unless it stands aside to have work done that was recorded before.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_turn = threading.Lock()
_mine = threading.local()
_stop = threading.Event()


class Stopped(BaseException):
    """Raised in a job that is to end: not an error, so nothing that handles errors may hold it up."""


@contextmanager
def turn() -> Iterator[None]:
    """Have the turn during the block; a job that has it already goes on."""
    if getattr(_mine, "held", False):
        yield
        return
    with _turn:
        _mine.held = True
        try:
            yield
        finally:
            _mine.held = False


@contextmanager
def aside() -> Iterator[None]:
    """Let others have the turn during the block; a caller that does not have it, and is alone, loses nothing."""
    if not getattr(_mine, "held", False):
        yield
        return
    _mine.held = False
    _turn.release()
    try:
        yield
    finally:
        _turn.acquire()
        _mine.held = True


def stop() -> None:
    """Ask all jobs to end where they next look."""
    _stop.set()


def allow() -> None:
    """Take back what `stop` asked for."""
    _stop.clear()


def go_on() -> None:
    """Look whether to end: raises `Stopped` if so."""
    if _stop.is_set():
        raise Stopped
