"""Do several parts of experiments at the same time, each on a stream of one GPU."""

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from .. import turns
from ..interrupts import uninterrupted
from .estimates import Share
from .experiments import Experiment
from .jobs import Job, Part

FIRST_PRIORITY = -3  # of a CUDA stream in torch; 0 is the last
SWITCH = 2e-4  # seconds: a job that is busy in Python must not keep the others from telling the GPU what is next


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of an experiment, and its place in the order in which parts are wanted."""

    place: int
    experiment: Experiment
    job: Job
    part: Part


def at_once(work: Iterable[Share], number: int) -> Iterator[tuple[Piece, Exception | None]]:
    """Do all parts, `number` at the same time, as soon as the trained network is there that they need.

    Yields each part when it has ended, with the error that ended it, if any: the others go on, except those that need
    what it was to make. What comes earlier in the order also goes first on the GPU. When this is interrupted, all end
    at their next look; what they have written is gone on from, as with any stop.
    """
    parts = [(each, job, part) for each, job, parts in work for part in parts]
    waiting = [Piece(place, *some) for place, some in enumerate(parts)]
    running: dict[Future, Piece] = {}
    turns.allow()
    sys.setswitchinterval(SWITCH)
    with ThreadPoolExecutor(number) as pool:
        try:
            while waiting or running:
                for piece in ready(waiting, list(running.values()))[: number - len(running)]:
                    waiting.remove(piece)
                    before = sum(other.place < piece.place for other in running.values())
                    with uninterrupted():  # or the pool's own locks might stay taken
                        running[pool.submit(carry_out, piece, min(0, FIRST_PRIORITY + before))] = piece
                with uninterrupted():  # and so not without end
                    done = wait(running, 0.2, FIRST_COMPLETED).done
                for future in done:
                    piece, error = running.pop(future), future.exception()
                    if error is not None:
                        if not isinstance(error, Exception):
                            raise error
                        lost = made([piece])
                        waiting = [each for each in waiting if needed(each) not in lost]
                    yield piece, error
        except BaseException:
            turns.stop()
            raise


def ready(waiting: list[Piece], running: list[Piece]) -> list[Piece]:
    """Those of `waiting` whose trained network is there, or is nobody's task."""
    to_come = made(waiting + running)
    return [p for p in waiting if needed(p) not in to_come or p.job.weights(str(p.part.network)).exists()]


def made(pieces: Iterable[Piece]) -> set[tuple]:
    """The trained networks that `pieces` make: setting, seed and name."""
    return {(p.job.setting.name, p.job.seed, network) for p in pieces for network in p.part.kept}


def needed(piece: Piece) -> tuple:
    """The trained network that a piece needs, told as in `made`."""
    return piece.job.setting.name, piece.job.seed, piece.part.network


def carry_out(piece: Piece, priority: int) -> None:
    """The part, on a stream of its own."""
    stream = torch.cuda.stream(torch.cuda.Stream(priority=priority)) if torch.cuda.is_available() else nullcontext()
    with turns.turn(), stream:
        piece.part.code(piece.job)
