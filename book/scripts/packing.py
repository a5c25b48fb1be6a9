"""What the site offers to download beside its pages: tables, trained networks, notebooks and the student edition."""

import shutil
import tempfile
from pathlib import Path

import student


def pack(root: Path, notebooks: Path, results: Path, files: Path) -> None:
    """Put results and weights below `files`, and zips into `files/downloads`; what is not there is left out."""
    for name, source in (("results", results), ("weights", root / "weights")):
        (files / name).mkdir(parents=True)
        if source.is_dir():
            shutil.copytree(source, files / name, ignore=student.LEFT_OUT, dirs_exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folders = []
        if any(files.glob("results/*/*.csv")):
            folders.append(Path(scratch) / "pruning-filters-results")
            shutil.copytree(files / "results", folders[-1])
        if any(notebooks.glob("*.ipynb")):
            folders += [Path(scratch) / "pruning-filters-notebooks", Path(scratch) / student.NAME]
            shutil.copytree(notebooks, folders[-2], ignore=student.LEFT_OUT)
            student.edition(folders[-1], notebooks, results)
        (files / "downloads").mkdir()
        for folder in folders:
            shutil.move(student.archive(folder), files / "downloads")
