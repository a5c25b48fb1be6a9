"""Tables as CSV text with types: every cell reads back exactly as it was written, or is refused with its place.

A column is `text`, `integer`, `number` or `flag`. Types and key stand in a schema beside the CSV, so that a damaged
cell is noticed instead of turning its whole column into text.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from .errors import FileError, PrunekitError

Row = Mapping[str, Any]
LARGEST = 2**63 - 1
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DTYPES = {"text": "str", "integer": "int64", "number": "float64", "flag": "bool"}


def integer(cell: str) -> int:
    """A whole number that fits 64 bits; ValueError otherwise."""
    value = int(cell)
    if not -LARGEST - 1 <= value <= LARGEST:
        raise ValueError(f"{cell} does not fit 64 bits")
    return value


PARSERS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "integer": integer,
    "number": float,
    "flag": lambda cell: {"True": True, "False": False}[cell],
}


@dataclass(frozen=True)
class Schema:
    """`columns`: type of each column by name, in order, `run` last. `key`: the columns no two rows agree in."""

    key: tuple[str, ...]
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """Rows of plain Python values under a schema."""

    schema: Schema
    rows: Sequence[Row]

    @property
    def key(self) -> tuple[str, ...]:
        return self.schema.key

    @property
    def columns(self) -> Mapping[str, str]:
        return self.schema.columns

    def key_of(self, row: Row) -> tuple:
        return tuple(row[column] for column in self.key)

    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame; dtypes come from the schema, so they are the same for any rows, and for none."""
        frame = pd.DataFrame(list(self.rows), columns=list(self.columns))
        return frame.astype({name: DTYPES[kind] for name, kind in self.columns.items()})

    def format(self) -> str:
        """As CSV text; `str` of a Python float is the shortest text that reads back as that float."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([str(row[name]) for name in self.columns] for row in self.rows)
        return out.getvalue()


def records(rows: pd.DataFrame | Iterable[Row]) -> list[dict[str, Any]]:
    """Rows as dicts of plain Python values."""
    listed = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    return [{str(k): v.item() if hasattr(v, "item") else v for k, v in row.items()} for row in listed]


def typed(rows: Sequence[Row], key: Sequence[str], like: Table | None, name: str) -> Table:
    """Rows as a table: types found from the values, or held against those of `like`."""
    columns = [c for c in rows[0] if c != "run"] + ["run"]
    for row in rows:
        if set(row) != set(columns):
            odd = sorted(set(row) ^ set(columns))
            raise PrunekitError(f"{name}: rows must have the same columns; {odd[0]!r} is in some and not in others.")
    schema = Schema(tuple(key), {column: _kind(column, [row[column] for row in rows], name) for column in columns})
    if lost := [column for column in key if column not in columns]:
        raise PrunekitError(f"{name}: the key names {lost[0]!r}, which is no column; there are: {', '.join(columns)}.")
    if like is not None:
        schema = _fitting(schema, like.schema, name)
    floats = [column for column, kind in schema.columns.items() if kind == "number"]
    rows = [
        {**{column: row[column] for column in schema.columns}, **{c: float(row[c]) for c in floats}} for row in rows
    ]
    for row in rows:
        for column in key:
            if row[column] != row[column]:
                raise PrunekitError(f"{name}: {column!r} is part of the key and must be a number, not NaN.")
    return Table(schema, rows)


def combined(old: Table | None, new: Table, path: Path) -> Table:
    """`old` with the rows of `new` added; the rule for a key that is there already is the one of `Ledger.add`."""
    rows = {new.key_of(row): row for row in old.rows} if old else {}
    for row in new.rows:
        key = new.key_of(row)
        there = rows.get(key)
        if there is None or (there["run"] == row["run"] and not _same(there, row, new.columns)):
            rows[key] = row
        elif not _same(there, row, new.columns):
            column = next(c for c in new.columns if c != "run" and not _equal(there[c], row[c]))
            where = ", ".join(f"{c} {v}" for c, v in zip(new.key, key, strict=True))
            raise PrunekitError(
                f"{path} has {column} = {there[column]} for {where}, from run {there['run']}; run {row['run']} found "
                f"{row[column]}. A result is not overwritten: delete the table to measure it anew."
            )
    return Table(new.schema, list(rows.values()))


def parse(text: str, schema: Schema, path: Path, runs: Collection[str]) -> Table:
    """CSV text as a table. Raises FileError with line and column for whatever does not fit the schema."""
    remedy = "Restore the file, or remove the line to have it measured again."
    names = list(schema.columns)
    if not text.endswith("\n"):
        raise FileError(f"{path}, line {text.count(chr(10)) + 1}: the last line breaks off. {remedy}")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[dict[str, Any]] = []
    seen: dict[tuple, int] = {}
    try:
        header = next(reader)
        if header != names:
            raise FileError(f"{path}, line 1: the columns are {header}, but must be {names}. Restore the file.")
        for cells in reader:
            place = f"{path}, line {reader.line_num}"
            if len(cells) != len(names):
                raise FileError(f"{place}: {len(cells)} cells where {len(names)} belong. {remedy}")
            row = {}
            for (column, kind), cell in zip(schema.columns.items(), cells, strict=True):
                try:
                    row[column] = PARSERS[kind](cell)
                except (ValueError, KeyError):
                    article = "an" if kind == "integer" else "a"
                    raise FileError(f"{place}, column {column}: {cell!r} is not {article} {kind}. {remedy}") from None
            if row["run"] not in runs:
                raise FileError(f"{place}, column run: {row['run']!r} is not in runs.jsonl beside it. {remedy}")
            key = tuple(row[column] for column in schema.key)
            if key in seen:
                raise FileError(
                    f"{place}: the same {', '.join(schema.key)} as line {seen[key]}. Remove one of the two."
                )
            seen[key] = reader.line_num
            rows.append(row)
    except csv.Error as error:
        raise FileError(f"{path}, line {reader.line_num}: {error}. {remedy}") from None
    return Table(schema, rows)


def schemas(text: str | None, path: Path) -> dict[str, Schema]:
    """The content of tables.json."""
    try:
        found = {name: Schema(tuple(s["key"]), dict(s["columns"])) for name, s in json.loads(text or "{}").items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileError(f"{path} is damaged ({error}); restore it, or delete this folder to measure again.") from error
    for name, schema in found.items():
        odd = [kind for kind in schema.columns.values() if kind not in DTYPES]
        if odd or "run" not in schema.columns or not set(schema.key) <= set(schema.columns):
            raise FileError(f"{path}: the entry {name!r} does not describe a table; restore the file.")
    return found


def format_schemas(known: Mapping[str, Schema]) -> str:
    """tables.json for these schemas."""
    plain = {name: {"key": s.key, "columns": dict(s.columns)} for name, s in sorted(known.items())}
    return json.dumps(plain, indent=1) + "\n"


def _kind(column: str, values: Sequence[Any], name: str) -> str:
    types = {type(value) for value in values}
    for kinds, kind in (({bool}, "flag"), ({int}, "integer"), ({int, float}, "number"), ({str}, "text")):
        if types <= kinds:
            if kind == "integer" and max(map(abs, values)) > LARGEST:
                raise PrunekitError(f"{name}: column {column!r} holds an integer that does not fit 64 bits.")
            if kind == "text" and any(CONTROL.search(value) for value in values):
                raise PrunekitError(f"{name}: column {column!r} holds a line break or another control character.")
            return kind
    found = ", ".join(sorted(t.__name__ for t in types))
    raise PrunekitError(f"{name}: column {column!r} must hold numbers, text or flags, one kind only; it holds {found}.")


def _fitting(new: Schema, old: Schema, name: str) -> Schema:
    if new.key != old.key:
        raise PrunekitError(f"{name}: the key of this table is {old.key}, not {new.key}.")
    if set(new.columns) != set(old.columns):
        odd = sorted(set(new.columns) ^ set(old.columns))
        raise PrunekitError(
            f"{name}: the table has the columns {', '.join(old.columns)}; {odd[0]!r} makes a difference."
        )
    for column, kind in new.columns.items():
        if kind != old.columns[column] and (kind, old.columns[column]) != ("integer", "number"):
            raise PrunekitError(f"{name}: column {column!r} holds {old.columns[column]}, and {kind} was given.")
    return old


def _equal(a: Any, b: Any) -> bool:
    return a == b or (isinstance(a, float) and math.isnan(a) and isinstance(b, float) and math.isnan(b))


def _same(a: Row, b: Row, columns: Iterable[str]) -> bool:
    return all(column == "run" or _equal(a[column], b[column]) for column in columns)
