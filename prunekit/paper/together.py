"""Do several parts of experiments at the same time, each on a stream of one GPU."""

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from .. import turns
from .estimates import Share
from .experiments import Experiment
from .jobs import Job, Part

FIRST_PRIORITY = -3  # of a CUDA stream in torch; 0 is the last


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of an experiment, and its place in the order in which parts are wanted."""

    place: int
    experiment: Experiment
    job: Job
    part: Part


def at_once(work: Iterable[Share], number: int) -> Iterator[Piece]:
    """Do all parts, `number` at the same time, as soon as the trained network is there that they need; each when done.

    What comes earlier in the order also goes first on the GPU. An error in one part ends the others at their next
    look, and is raised; what they wrote is gone on from, as with any stop.
    """
    parts = [(each, job, part) for each, job, parts in work for part in parts]
    waiting = [Piece(place, *some) for place, some in enumerate(parts)]
    running: dict[Future, Piece] = {}
    turns.stop(False)
    with ThreadPoolExecutor(number) as pool:
        try:
            while waiting or running:
                for piece in ready(waiting, list(running.values()))[: number - len(running)]:
                    waiting.remove(piece)
                    before = sum(other.place < piece.place for other in running.values())
                    running[pool.submit(carry_out, piece, min(0, FIRST_PRIORITY + before))] = piece
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    yield running.pop(future)
        except BaseException:
            turns.stop()
            raise


def ready(waiting: list[Piece], running: list[Piece]) -> list[Piece]:
    """Those of `waiting` whose trained network is there, or is nobody's task."""
    made = {
        (piece.job.setting.name, piece.job.seed, network) for piece in waiting + running for network in piece.part.kept
    }
    return [
        piece
        for piece in waiting
        if piece.part.network is None
        or piece.job.weights(piece.part.network).exists()
        or (piece.job.setting.name, piece.job.seed, piece.part.network) not in made
    ]


def carry_out(piece: Piece, priority: int) -> None:
    """The part, on a stream of its own."""
    stream = torch.cuda.stream(torch.cuda.Stream(priority=priority)) if torch.cuda.is_available() else nullcontext()
    with turns.turn(), stream:
        piece.part.code(piece.job)
