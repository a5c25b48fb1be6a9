"""What a step depends on, as one short text: when it changes, the step has to run again."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import nbformat

CODE = ("prunekit/**/*.py", "constraints.txt")


def of_files(root: Path, patterns: Iterable[str]) -> str:
    """A digest of the names and bytes of all files below `root` that match one of the patterns."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()}):
        digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def of_cells(notebook: nbformat.NotebookNode) -> str:
    """A digest of what a notebook says and asks for, whatever its outputs."""
    said = [[cell.cell_type, cell.source, cell.metadata] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
