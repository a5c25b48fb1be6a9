"""The errors prunekit raises on purpose: each names what was refused, where it stands, and what to do."""

import difflib
import os
import traceback
from collections.abc import Iterable
from pathlib import Path

import torch

NOT_THE_USERS = (f"{Path(__file__).parent}{os.sep}", f"{Path(torch.__file__).parent}{os.sep}", "<")


class PrunekitError(ValueError):
    """Base of every refusal; catching it catches them all."""


class TraceError(PrunekitError):
    """The network cannot be followed from input to output."""


class PlanError(PrunekitError):
    """The plan asks for something that cannot be cut, or belongs to another network."""


class SurgeryError(PrunekitError):
    """The network does not survive the cut, usually because its forward has a size written into it."""


class FileError(PrunekitError):
    """A file of weights, a data set or a ledger is damaged, incomplete or of another kind."""


class TrainingError(PrunekitError):
    """Training cannot go on: a loss that is not finite, or a checkpoint of another run."""


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint for an unknown name: ``" Did you mean 'conv1' or 'conv2'?"``, or nothing if none is near."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def said(error: BaseException) -> str:
    """What `error` says and where it arose, to be followed by a full stop."""
    return f"{error} {line_of(error)}".rstrip(" .")


def line_of(error: BaseException) -> str:
    """The innermost line outside torch and prunekit where `error` arose, as ``"(net.py, line 12: y = x.view(-1))"``."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(NOT_THE_USERS)]
    if not frames:
        return ""
    return f"({Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line})"
