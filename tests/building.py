"""Build a book the way `make book` does."""

import re
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
