"""Run the live experiments into a ledger below _build, and give it the committed rows of all other settings.

    python book/scripts/experiments.py --to _build/results COMMAND...

Rows that another version of the code wrote are dropped first. The command itself goes on where it was stopped.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fingerprint

ROOT = Path(__file__).parents[2]
LIVE = "digits"  # the one setting that is small enough to be run by every reader


def prepare(committed: Path, to: Path, code: str) -> bool:
    """Bring the ledger at `to` up to date with the committed one; whether its live rows are complete already."""
    to.mkdir(parents=True, exist_ok=True)
    stamp = to / ".code"
    if not stamp.is_file() or stamp.read_text() not in (code, code + " done"):
        shutil.rmtree(to / LIVE, ignore_errors=True)
        stamp.write_text(code)
    for old in to.iterdir():
        if old.is_dir() and old.name != LIVE:
            shutil.rmtree(old)
    for setting in committed.iterdir() if committed.is_dir() else ():
        if setting.is_dir() and setting.name != LIVE:
            shutil.copytree(setting, to / setting.name)
    return stamp.read_text().endswith(" done")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the live experiments, unless this code has run them already.")
    parser.add_argument("--to", type=Path, required=True, help="folder of the ledger that is written")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run")
    options = parser.parse_args()
    code = fingerprint.of_files(ROOT, fingerprint.CODE)
    if prepare(ROOT / "results", options.to, code):
        print(f"Experiments: the rows in {options.to / LIVE} are up to date.", flush=True)
        return 0
    print(f"Experiments: {' '.join(options.command)}", flush=True)
    environment = os.environ | {"PRUNEKIT_RESULTS": str(options.to.resolve())}
    status = subprocess.run(options.command, env=environment).returncode
    if status == 0:
        (options.to / ".code").write_text(code + " done")
    return status


if __name__ == "__main__":
    sys.exit(main())
