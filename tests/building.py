"""Build a book the way `make book` does."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def built(root: Path, to: Path) -> tuple[int, str]:
    """Build the book at `root` strictly; exit status and what was said."""
    folders = ["--root", root, "--notebooks", root / "notebooks", "--results", root / "results", "--to", to]
    done = subprocess.run(
        [sys.executable, ROOT / "book" / "scripts" / "website.py", *folders],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    return done.returncode, re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)


def small_root(root: Path, first: str) -> Path:
    """A book whose only page is `first`, which is not written yet, with the project's own configuration."""
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("*.md", "__pycache__"))
    shutil.copy(ROOT / "_config.yml", root)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: {first}\n")
    (root / "notebooks").mkdir()
    return root
