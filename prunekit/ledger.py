"""Results with their origin: every row of a table names the run that measured it.

A setting's results are plain files in `<root>/<setting>/`:

* `<experiment>.csv`: the rows, each with a `run` column;
* `runs.jsonl`: for each run its command, seed, code version, device, libraries, seconds, checksum of the weights;
* `tables.json`: for each table the type of each column, and the key: the columns no two rows agree in.

A change replaces a whole file in one step, under a lock: a kill or a full disk leaves the file as it was, two writers
take turns. Ctrl-C waits for the end of such a step. Numbers are written so that they read back exactly.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
from filelock import BaseFileLock, FileLock, Timeout
from torch import nn

from . import origin, sheets
from .errors import FileError, PrunekitError, nearest
from .interrupts import uninterrupted
from .origin import Run
from .sheets import Row, Table

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
PATIENCE = 60.0  # seconds to wait for another writer, who needs milliseconds


class Ledger:
    """The results of one setting. Nothing is created on disk before the first row is added."""

    def __init__(self, root: str | Path | None = None, setting: str = "digits"):
        self.root = Path(root) if root is not None else default_root()
        self.setting = _checked(setting, "setting")
        self.folder = self.root / self.setting
        self._started: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"Ledger({str(self.root)!r}, setting={self.setting!r})"

    @uninterrupted()
    def experiments(self) -> list[str]:
        """Names of the tables, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.csv"))

    def table(self, experiment: str) -> pd.DataFrame:
        """All rows of an experiment, the `run` column last; int64, float64, bool and text columns.

        Raises FileError if there is no such table, or if it is damaged, with the line and the column.
        """
        found = self._read(experiment)
        if found is None:
            known = self.experiments()
            raise FileError(
                f"There are no results of {experiment!r} in {self.folder}; there are: {', '.join(known) or 'none'}."
                f"{nearest(experiment, known)} `prunekit reproduce {experiment} --setting {self.setting}` makes them."
            )
        return found.frame()

    def add(self, experiment: str, rows: pd.DataFrame | Iterable[Row], key: Sequence[str], run: Run) -> int:
        """Write rows that `run` measured; how many the table gained.

        `key` names the columns no two rows may agree in, and stays the same for the life of a table. A row whose key is
        there already: with the same values it is left as it is, with its first origin; with other values it replaces
        the old one if the same run wrote that, and is refused if another run did. To measure again, delete the table.
        """
        given = sheets.records(rows)
        if not given:
            return 0
        given = [{**row, "run": run.id} for row in given]
        with self._locked():
            old = self._read(experiment)
            new = sheets.combined(old, sheets.typed(given, key, old, experiment), self._file(experiment))
            if old is None or new.rows != old.rows:
                self._write(experiment, new, {run.id: self._timed(run)})
        return len(new.rows) - (len(old.rows) if old else 0)

    def missing(self, experiment: str, wanted: Iterable[Row]) -> list[Row]:
        """Those of `wanted` that no row agrees with in all their columns, in the order given: what is left to do."""
        found = self._read(experiment)
        wanted = list(wanted)
        if found is None:
            return wanted
        columns = sorted({column for row in wanted for column in row})
        unknown = [c for c in columns if c not in found.columns]
        if unknown:
            raise PrunekitError(f"{experiment}: no column {unknown[0]!r}.{nearest(unknown[0], found.columns)}")
        there: dict[tuple[str, ...], set[tuple]] = {}
        for names in {tuple(row) for row in wanted}:
            there[names] = {tuple(row[n] for n in names) for row in found.rows}
        return [row for row in wanted if tuple(row.values()) not in there[tuple(row)]]

    def runs(self) -> dict[str, Run]:
        """The record of every run that wrote a row, by its id."""
        return origin.parse(_text(self.folder / "runs.jsonl"), self.folder / "runs.jsonl")

    def origin(self, experiment: str) -> pd.DataFrame:
        """A row per run behind a table: the fields of its record, and `rows`, how many rows are its."""
        counts = Counter(self.table(experiment)["run"])
        runs = self.runs()
        return pd.DataFrame([{**runs[name].record(), "rows": n} for name, n in counts.items()])

    @contextmanager
    def run(
        self,
        command: str | Sequence[str] | None = None,
        seed: int = 0,
        weights: nn.Module | str | Path | None = None,
        device: str = "cpu",
    ) -> Iterator[Run]:
        """A run to add rows under: `with ledger.run(seed=0, weights=model) as run: ledger.add(..., run=run)`.

        `command` is what to type to do it again (this process's own if not given); machine paths in it are shortened
        to names. `weights` is the network measured, or its file. The record is written with the first rows, and its
        seconds brought up to date with each later `add` and at the end, so a run that is killed keeps its origin.
        """
        run = origin.begin(command, seed, weights, device)
        self._started[run.id] = time.perf_counter()
        try:
            yield run
        finally:
            if run.id in self.runs():
                with self._locked():
                    self._write_runs({run.id: self._timed(run)})
            del self._started[run.id]

    def merge(self, other: "Ledger") -> int:
        """Take in the rows and runs of another ledger of the same setting, from another machine say; how many rows.

        All or nothing as far as conflicts go: a row that differs from ours under the same key is refused before
        anything is written.
        """
        if other.setting != self.setting:
            raise PrunekitError(f"merge: this ledger is of setting {self.setting!r}, the other of {other.setting!r}.")
        gained, merged = 0, {}
        with self._locked():
            for experiment in other.experiments():
                theirs, ours = other._read(experiment), self._read(experiment)
                assert theirs is not None
                given = sheets.typed(theirs.rows, theirs.key, ours, experiment)
                merged[experiment] = sheets.combined(ours, given, self._file(experiment))
                gained += len(merged[experiment].rows) - (len(ours.rows) if ours else 0)
            runs = other.runs()
            for experiment, table in merged.items():
                self._write(
                    experiment,
                    table,
                    {row["run"]: runs[row["run"]] for row in table.rows if row["run"] in runs},
                )
        return gained

    def _file(self, experiment: str) -> Path:
        return self.folder / f"{_checked(experiment, 'experiment')}.csv"

    def _timed(self, run: Run) -> Run:
        started = self._started.get(run.id)
        return run if started is None else replace(run, seconds=round(time.perf_counter() - started, 3))

    def _read(self, experiment: str) -> Table | None:
        """Rows first, then what they rest on, which is written before them: so no lock is needed to read."""
        path = self._file(experiment)
        text = _text(path)
        if text is None:
            return None
        schema = sheets.schemas(_text(self.folder / "tables.json"), self.folder / "tables.json").get(experiment)
        if schema is None:
            raise FileError(f"{path} is not described in tables.json beside it; restore both, or delete the table.")
        return sheets.parse(text, schema, path, self.runs())

    def _write(self, experiment: str, table: Table, runs: Mapping[str, Run]) -> None:
        """What the rows rest on goes first: a kill in between leaves a run without rows, never rows without a run."""
        path = self.folder / "tables.json"
        known = sheets.schemas(_text(path), path)
        if known.get(experiment) != table.schema:
            write_whole(path, sheets.format_schemas({**known, experiment: table.schema}))
        self._write_runs(runs)
        write_whole(self._file(experiment), table.format())

    def _write_runs(self, runs: Mapping[str, Run]) -> None:
        write_whole(self.folder / "runs.jsonl", origin.format({**self.runs(), **runs}))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone in the folder, and not interrupted there; while it waits for another writer it can be."""
        patience = time.monotonic() + PATIENCE
        while True:
            with uninterrupted():
                lock = self._lock()
                if lock is not None:
                    try:
                        yield
                    finally:
                        lock.release()
                        del lock  # its destructor would swallow an interrupt
                    return
            if time.monotonic() > patience:
                raise FileError(
                    f"{self.folder / '.lock'} has been locked by another writer for {PATIENCE:.0f} s; end that one."
                )
            time.sleep(0.05)

    def _lock(self) -> BaseFileLock | None:
        """The lock of the folder, taken; None if another writer has it."""
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            return None
        except OSError as error:
            raise FileError(
                f"{self.folder} cannot be written to: {error.strerror}. Choose another with --results."
            ) from error
        return lock


def default_root() -> Path:
    """PRUNEKIT_RESULTS if set; else `results` of the repository this package stands in; else of the current folder."""
    if given := os.environ.get("PRUNEKIT_RESULTS"):
        return Path(given)
    repository = origin.repository()
    return (repository or Path()) / "results"


def write_whole(path: Path, text: str) -> None:
    """Replace the file by `text`, or leave it as it was and raise FileError. The caller holds the lock."""
    partial = path.with_name(path.name + ".tmp")  # one name, so that what a kill leaves is overwritten next time
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        if os.name == "posix":  # the new name, too, must reach the disk
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FileError(
            f"{path} cannot be written: {error.strerror}. What it held is unharmed; "
            "mend that (make room on the disk, say) and start the same command again: it goes on where it stopped."
        ) from error


@uninterrupted()
def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"{path} cannot be read as text: {error}. Restore it, or delete it to measure again."
        ) from error


def _checked(name: str, what: str) -> str:
    if not NAME.fullmatch(name):
        raise PrunekitError(f"{name!r} cannot name {'an' if what[0] in 'aeiou' else 'a'} {what}: use a-z, 0-9 and -.")
    return name
