"""Run the live experiments into a ledger below _build; it gets the committed rows and weights of all other settings.

    python book/scripts/experiments.py --to _build/results COMMAND...

Of the one setting that every reader runs, the tables that the command makes are made again with each version of the
code; the others, which take longer, are taken as they were committed. The command goes on where it was stopped.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import fingerprint
from prunekit.ledger import Ledger
from prunekit.paper import experiments

ROOT = Path(__file__).parents[2]
LIVE = "digits"  # the one setting that is small enough to be run by every reader


def prepare(committed: Path, to: Path, code: str) -> bool:
    """Bring the ledger at `to` up to date with the committed one; whether its live rows are complete already."""
    to.mkdir(parents=True, exist_ok=True)
    stamp = to / ".code"
    if not stamp.is_file() or stamp.read_text() not in (code, code + " done"):
        shutil.rmtree(to / LIVE, ignore_errors=True)
        if (committed / LIVE).is_dir():
            shutil.copytree(committed / LIVE, to / LIVE)
            drop(Ledger(to, LIVE), experiments.LIVE)
        stamp.write_text(code)
    for old in to.iterdir():
        if old.is_dir() and old.name != LIVE:
            shutil.rmtree(old)
    for setting in committed.iterdir() if committed.is_dir() else ():
        if setting.is_dir() and setting.name != LIVE:
            shutil.copytree(setting, to / setting.name)
            weights = committed.parent / "weights" / setting.name
            if weights.is_dir():  # chapters read trained networks from beside the ledger
                shutil.copytree(weights, to.parent / "weights" / setting.name, dirs_exist_ok=True)
    return stamp.read_text().endswith(" done")


def drop(ledger: Ledger, made_by: Sequence[str]) -> None:
    """Delete the tables that these experiments made."""
    commands = {f"prunekit reproduce {name} " for name in made_by}
    for table in ledger.experiments():
        if any(command.startswith(tuple(commands)) for command in ledger.origin(table)["command"]):
            (ledger.folder / f"{table}.csv").unlink()


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
