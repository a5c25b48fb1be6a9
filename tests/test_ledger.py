"""The ledger: exact on disk, one rule for a key that is there already, nothing lost to kills, full disks or crowds."""

import errno
import hashlib
import json
import math
import multiprocessing
import os
import random
import resource
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunekit import ledger as module
from prunekit import origin
from prunekit.errors import FileError, PrunekitError
from prunekit.ledger import Ledger

KEY = ["layer", "rate"]
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["prunekit.ledger"])


def row(layer: str, rate: float, correct: int = 7) -> dict:
    return {"layer": layer, "rate": rate, "correct": correct, "share": correct / 9, "split": "test"}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "results", setting="digits")


def filled(ledger: Ledger, *rows: dict) -> Path:
    with ledger.run(command="prunekit test", seed=3) as run:
        ledger.add("try", rows or [row("a", 0.1), row("a", 0.2), row("b", 0.1)], KEY, run)
    return ledger.folder / "try.csv"


def test_rows_come_back_with_their_types_and_their_run(ledger):
    filled(ledger)
    table = ledger.table("try")
    assert [str(t) for t in table.dtypes] == ["str", "float64", "int64", "float64", "str", "str"]
    assert list(table.columns)[-1] == "run"
    assert list(table["share"]) == [7 / 9] * 3
    assert set(table["run"]) == set(ledger.runs())
    assert ledger.experiments() == ["try"]


def test_the_table_is_plain_csv(ledger):
    path = filled(ledger)
    run = next(iter(ledger.runs()))
    assert path.read_text().splitlines()[:2] == [
        "layer,rate,correct,share,split,run",
        f"a,0.1,7,0.7777777777777778,test,{run}",
    ]
    pd.testing.assert_frame_equal(pd.read_csv(path), ledger.table("try"), check_dtype=False)


@settings(deadline=None, max_examples=40)
@given(
    numbers=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=5),
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=1, max_size=5),
    integers=st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1, max_size=5),
)
def test_every_value_reads_back_exactly(tmp_path_factory, numbers, texts, integers):
    ledger = Ledger(tmp_path_factory.mktemp("exact"))
    n = min(len(numbers), len(texts), len(integers))
    rows = [{"i": i, "x": numbers[i], "t": texts[i], "n": integers[i], "f": i % 2 == 0} for i in range(n)]
    with ledger.run(command="x") as run:
        ledger.add("try", rows, ["i"], run)
    table = ledger.table("try")
    assert (
        list(table["t"]) == texts[:n]
        and list(table["n"]) == integers[:n]
        and list(table["f"]) == [r["f"] for r in rows]
    )
    for ours, theirs in zip(table["x"], numbers, strict=False):
        assert (
            math.isnan(theirs)
            if math.isnan(ours)
            else (ours, math.copysign(1, ours)) == (theirs, math.copysign(1, theirs))
        )


def test_dtypes_do_not_depend_on_the_values(ledger):
    """A column of numbers stays one when every number happens to be whole, or none is there."""
    filled(ledger, row("a", 0.0, 9), row("1", 1.0, 9))
    assert list(ledger.table("try").dtypes.astype(str)) == ["str", "float64", "int64", "float64", "str", "str"]
    path = ledger.folder / "try.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert list(ledger.table("try").dtypes.astype(str)) == ["str", "float64", "int64", "float64", "str", "str"]


def test_a_frame_and_an_integer_for_a_number_are_taken(ledger):
    filled(ledger)
    with ledger.run(command="x") as run:
        assert ledger.add("try", pd.DataFrame([{**row("c", 0.5), "share": 1}]), KEY, run) == 1
    assert ledger.table("try")["share"].iloc[-1] == 1.0


# The rule for a key that is there already.


def test_an_identical_row_passes_and_keeps_its_first_origin(ledger):
    path = filled(ledger)
    before = path.read_bytes()
    with ledger.run(command="again") as run:
        assert ledger.add("try", [row("a", 0.1)], KEY, run) == 0
    assert path.read_bytes() == before
    assert len(ledger.runs()) == 1, "a run that wrote nothing leaves no record"


def test_another_value_from_another_run_is_refused_and_nothing_is_written(ledger):
    path = filled(ledger)
    before = path.read_bytes()
    with ledger.run(command="again") as run, pytest.raises(PrunekitError, match=r"correct = 7 for layer a, rate 0\.1"):
        ledger.add("try", [row("new", 0.1), row("a", 0.1, correct=8)], KEY, run)
    assert path.read_bytes() == before


def test_a_run_may_correct_its_own_row(ledger):
    with ledger.run(command="x") as run:
        ledger.add("try", [row("a", 0.1), row("b", 0.1)], KEY, run)
        assert ledger.add("try", [row("a", 0.1, correct=8)], KEY, run) == 0
    assert list(ledger.table("try")["correct"]) == [8, 7]


def test_not_a_number_equals_itself(ledger):
    filled(ledger, {**row("a", 0.1), "share": math.nan})
    with ledger.run(command="again") as run:
        assert ledger.add("try", [{**row("a", 0.1), "share": math.nan}], KEY, run) == 0


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"layer": 3}, "column 'layer' holds text, and integer"),
        ({"correct": 7.5}, "column 'correct' holds integer, and number"),
        ({"correct": 2**70}, "column 'correct' holds an integer that does not fit"),
        ({"split": "a\nb"}, "column 'split' holds a line break"),
        ({"correct": "7"}, "column 'correct' holds integer, and text"),
        ({"split": None}, "column 'split' must hold"),
        ({"rate": math.nan}, "'rate' is part of the key"),
        ({"more": 1}, "'more' makes a difference"),
    ],
)
def test_rows_that_do_not_fit_are_refused(ledger, bad, message):
    path = filled(ledger)
    before = path.read_bytes()
    with ledger.run(command="x") as run, pytest.raises(PrunekitError, match=message):
        ledger.add("try", [{**row("c", 0.3), **bad}], KEY, run)
    assert path.read_bytes() == before


def test_another_key_unequal_rows_and_odd_names_are_refused(ledger):
    filled(ledger)
    with ledger.run(command="x") as run:
        with pytest.raises(PrunekitError, match="the key of this table is"):
            ledger.add("try", [row("c", 0.3)], ["layer"], run)
        with pytest.raises(PrunekitError, match="'correct' is in some"):
            ledger.add("other", [row("c", 0.3), {"layer": "d"}], ["layer"], run)
        with pytest.raises(PrunekitError, match="'nothing', which is no column"):
            ledger.add("other", [row("c", 0.3)], ["nothing"], run)
        with pytest.raises(PrunekitError, match=r"'\.\./x' cannot name an experiment"):
            ledger.add("../x", [row("c", 0.3)], KEY, run)
    with pytest.raises(PrunekitError, match="cannot name a setting"):
        Ledger(setting="..")


def test_missing_is_what_is_left_to_do(ledger):
    wanted = [{"layer": layer, "rate": rate} for layer in "ab" for rate in (0.1, 0.2)]
    assert ledger.missing("try", wanted) == wanted
    filled(ledger)
    assert ledger.missing("try", wanted) == [{"layer": "b", "rate": 0.2}]
    with pytest.raises(PrunekitError, match=r"no column 'layr'\. Did you mean 'layer'"):
        ledger.missing("try", [{"layr": "a"}])


# Origin.


def test_origin_says_who_measured_what(ledger):
    network = nn.Linear(2, 2)
    with ledger.run(command="prunekit one", seed=1, weights=network) as run:
        ledger.add("try", [row("a", 0.1), row("a", 0.2)], KEY, run)
        time.sleep(0.05)
    with ledger.run(command="prunekit two", seed=2) as run:
        ledger.add("try", [row("b", 0.1)], KEY, run)
    found = ledger.origin("try").set_index("command")
    assert list(found["rows"]) == [2, 1] and list(found["seed"]) == [1, 2]
    assert found.loc["prunekit one", "weights"] == origin.checksum(network)
    assert 0.05 <= found.loc["prunekit one", "seconds"] < 30
    record = json.loads((ledger.folder / "runs.jsonl").read_text().splitlines()[0])
    assert record["libraries"]["torch"] == torch.__version__
    assert record["threads"] == torch.get_num_threads() and record["device"]
    assert record["version"] and isinstance(record["dirty"], bool)
    assert abs(time.time() - pd.Timestamp(record["started"]).timestamp()) < 60


def test_records_name_no_machine(ledger, monkeypatch):
    folder = Path.home() / "secret"
    monkeypatch.setattr("sys.argv", [str(folder / "bin" / "prunekit"), "prune", "--out=/tmp/x/small.st", "runs/a.st"])
    with ledger.run() as run:
        ledger.add("try", [row("a", 0.1)], KEY, run)
    text = (ledger.folder / "runs.jsonl").read_text()
    assert json.loads(text)["command"] == "prunekit prune --out=small.st runs/a.st"
    assert str(Path.home()) not in text and os.uname().nodename not in text and "/tmp" not in text


def test_a_command_line_with_windows_paths_and_spaces():
    assert origin.portable([r"C:\Users\me\prunekit.exe", "a b", "~/x/y"]) == "prunekit.exe 'a b' y"
    assert origin.portable("prunekit prune '/home/me/my net.py:build' --rate a=0.5") == (
        "prunekit prune 'my net.py:build' --rate a=0.5"
    )


def test_the_checksum_of_a_network_sees_every_value_and_of_a_file_is_its_sha256(tmp_path):
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = origin.checksum(network)
    assert before == origin.checksum(network)
    network[1].running_mean[0] += 1e-6  # type: ignore[index, operator]
    assert origin.checksum(network) != before
    path = tmp_path / "w"
    path.write_bytes(b"abc")
    assert origin.checksum(path) == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(FileError, match="cannot be read"):
        origin.checksum(tmp_path / "nothing")


def test_where_results_go(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEKIT_RESULTS", str(tmp_path / "elsewhere"))
    assert Ledger().root == tmp_path / "elsewhere"
    assert Ledger(tmp_path / "given").root == tmp_path / "given"
    monkeypatch.delenv("PRUNEKIT_RESULTS")
    monkeypatch.setattr(origin, "repository", lambda: tmp_path)
    assert Ledger().root == tmp_path / "results"
    monkeypatch.setattr(origin, "repository", lambda: None)
    assert Ledger().root == Path("results")
    assert not (tmp_path / "results").exists(), "reading creates nothing"


def test_a_table_that_is_not_there(ledger):
    filled(ledger)
    with pytest.raises(FileError, match=r"no results of 'trie'.*Did you mean 'try'"):
        ledger.table("trie")


def test_merge_brings_rows_and_runs_and_refuses_a_contradiction(ledger, tmp_path):
    filled(ledger)
    other = Ledger(tmp_path / "other")
    filled(other, row("a", 0.1), row("c", 0.1))
    with other.run(command="second") as run:
        other.add("more", [row("z", 0.5)], KEY, run)
    assert ledger.merge(other) == 2
    assert list(ledger.table("try")["layer"]) == ["a", "a", "b", "c"]
    assert ledger.origin("more")["command"].tolist() == ["second"]
    assert ledger.merge(other) == 0
    bad = Ledger(tmp_path / "bad")
    filled(bad, row("a", 0.1, correct=1))
    before = (ledger.folder / "try.csv").read_bytes()
    with pytest.raises(PrunekitError, match="A result is not overwritten"):
        ledger.merge(bad)
    assert (ledger.folder / "try.csv").read_bytes() == before
    with pytest.raises(PrunekitError, match="setting"):
        ledger.merge(Ledger(tmp_path / "other", setting="cifar10"))


# Damage.


@pytest.mark.parametrize(
    "line, change, message",
    [
        (2, lambda t: t.replace("0.2,7", "0.2,seven"), r"try\.csv, line 3, column correct: 'seven' is not an integer"),
        (1, lambda t: t.replace("0.1", "O.1"), r"line 2, column rate: 'O\.1' is not a number"),
        (3, lambda t: t[:-20], "line 4: the last line breaks off"),
        (3, lambda t: t.split(",test")[0] + "\n", "line 4: 4 cells where 6 belong"),
        (0, lambda t: t.replace("rate", "speed"), "line 1: the columns are"),
        (2, lambda t: t.replace("a,0.2", "a,0.1"), "line 3: the same layer, rate as line 2"),
        (1, lambda t: t[:-5] + "zzzz\n", r"line 2, column run: '.*zzzz' is not in runs.jsonl"),
        (2, lambda t: t.replace("0.2,7", "0.2," + "7" * 30), "line 3, column correct"),
        (1, lambda t: '"a,0.1\n', "line"),
    ],
)
def test_a_damaged_table_is_refused_with_its_place(ledger, line, change, message):
    path = filled(ledger)
    lines = path.read_text().splitlines(keepends=True)
    damaged = change(lines[line])
    assert damaged != lines[line]
    path.write_text("".join([*lines[:line], damaged, *lines[line + 1 :]]))
    with pytest.raises(FileError, match=message):
        ledger.table("try")
    before = path.read_bytes()
    with ledger.run(command="x") as run, pytest.raises(FileError):
        ledger.add("try", [row("z", 0.9)], KEY, run)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "name, message", [("tables.json", "tables.json is damaged"), ("runs.jsonl", "runs.jsonl, line 1")]
)
def test_damage_beside_the_table_is_refused(ledger, name, message):
    filled(ledger)
    path = ledger.folder / name
    path.write_text(path.read_text()[:-30])
    with pytest.raises(FileError, match=message):
        ledger.table("try")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="cannot be read as text"):
        ledger.table("try")


def test_a_table_without_description_is_refused(ledger):
    filled(ledger)
    (ledger.folder / "tables.json").unlink()
    with pytest.raises(FileError, match=r"not described in tables\.json"):
        ledger.table("try")


# A full disk, kills, crowds.


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_everything_as_it_was(ledger, monkeypatch, step):
    filled(ledger)
    before = {p.name: p.read_bytes() for p in ledger.folder.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, ledger.run(command="x") as run:
        patch.setattr(*((module.os, "fsync", full) if step == "fsync" else (Path, "replace", full)))
        with pytest.raises(FileError, match=r"No space left on device\. What it held is unharmed"):
            ledger.add("try", [row("z", 0.9)], KEY, run)
    assert {p.name: p.read_bytes() for p in ledger.folder.iterdir()} == before
    with ledger.run(command="x") as run:
        assert ledger.add("try", [row("z", 0.9)], KEY, run) == 1


def fill_to_the_limit(root: Path, limit: int) -> None:
    """A disk that really refuses: no file of this process may grow past `limit` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    ledger = Ledger(root)
    with ledger.run(command="fill") as run:
        for i in range(10_000):
            try:
                ledger.add("try", [row("x", i / 10_000)], KEY, run)
            except FileError:
                os._exit(7)
    os._exit(1)


def test_a_file_that_may_not_grow_keeps_its_rows(tmp_path):
    child = FORK.Process(target=fill_to_the_limit, args=(tmp_path, 4096))
    child.start()
    child.join(300)
    assert child.exitcode == 7
    table = Ledger(tmp_path).table("try")
    assert 30 < len(table) < 100
    assert list(table["rate"]) == [i / 10_000 for i in range(len(table))]
    assert not list(tmp_path.rglob("*.tmp"))


def wanted(n: int) -> dict:
    return {"layer": "abcd"[n % 4], "rate": n / 100}


def work(root: Path, numbers: range, together=None) -> None:
    """Measure what is wanted, a row at a time, looking each time at what is left.

    `together` is a barrier for two: each waits for the other before each row, until both have done a quarter of them.
    """
    ledger = Ledger(root)
    with ledger.run(command="work") as run:
        for i, n in enumerate(numbers):
            if together is not None and i <= len(numbers) // 4:
                together.wait(300)
            if ledger.missing("try", [wanted(n)]):
                ledger.add("try", [row(**wanted(n))], KEY, run)


def complete(root: Path, rows: int) -> None:
    table = Ledger(root).table("try")
    found = [{"layer": layer, "rate": rate} for layer, rate in zip(table["layer"], table["rate"], strict=True)]
    assert sorted(map(str, found)) == sorted(str(wanted(n)) for n in range(rows)), "a row is there twice, or missing"
    assert set(table["run"]) <= set(Ledger(root).runs())


def test_two_writers_at_once_lose_nothing(tmp_path):
    barrier = FORK.Barrier(2)  # a lock is not fair: one writer alone might have it until all is done
    up = range(200)
    crowd = [FORK.Process(target=work, args=(tmp_path, numbers, barrier)) for numbers in (up, up[::-1])]
    for child in crowd:
        child.start()
    for child in crowd:
        child.join(300)
        assert child.exitcode == 0
    complete(tmp_path, 200)
    written = Ledger(tmp_path).table("try")["run"].value_counts()
    assert len(written) == 2 and min(written) >= 50, "both must have written, or this shows nothing"


def test_killed_at_any_moment_it_goes_on_where_it_stopped(tmp_path):
    chance = random.Random(0)
    path, seen = tmp_path / "digits" / "try.csv", 0
    for _ in range(6):
        child = FORK.Process(target=work, args=(tmp_path, range(1_000_000)))  # it is killed long before it is done
        child.start()
        try:
            while not path.exists() or len(Ledger(tmp_path).table("try")) == seen:
                assert child.is_alive()
            time.sleep(chance.uniform(0, 0.1))
        finally:
            child.kill()
            child.join()
        assert child.exitcode == -signal.SIGKILL
        rows = len(Ledger(tmp_path).table("try"))  # it parses, and every row has its run
        assert rows > seen, "a kill must not lose a row that was there"
        seen = rows
    work(tmp_path, range(seen + 20))
    complete(tmp_path, seen + 20)
    assert len(Ledger(tmp_path).runs()) == 7
