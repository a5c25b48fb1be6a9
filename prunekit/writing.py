"""Files that are written whole or not at all, whenever the process is killed or the disk is full."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FileError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; at the end of the context that file takes the place of `path`.

    Raises `FileError` where writing fails, for whatever reason; what was at `path` before is untouched then.
    """
    if not path.parent.is_dir():
        raise FileError(f"There is no folder {path.parent}: make it, or choose another place for {path.name}.")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except Exception as error:  # torch and safetensors raise kinds of their own for a full disk
        raise FileError(
            f"{path} could not be written ({error}). What it held before is untouched; make room or choose another "
            "place, and try again."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
