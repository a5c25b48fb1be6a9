"""The command line as a user meets it: what it prints, what it writes, and its exit codes."""

import io
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from paper_counts import COUNTS, WITH_PROJECTIONS
from torch import nn
from typer.testing import CliRunner, Result

import prunekit as pk
from prunekit import builders, nets, options
from prunekit.cli import app
from prunekit.errors import FileError, PrunekitError
from prunekit.ledger import Ledger
from prunekit.paper import estimates, experiments
from prunekit.paper.experiments import Experiment
from prunekit.paper.jobs import Part, Work

MODEL = """
    import torch
    from torch import nn
    import torch.nn.functional as F

    class Net(nn.Module):
        def __init__(self, width=12):
            super().__init__()
            self.first = nn.Conv2d(3, width, 3, padding=1)
            self.norm = nn.BatchNorm2d(width)
            self.second = nn.Conv2d(width, 8, 3, padding=1)
            self.head = nn.Linear(8, 10)
        def forward(self, x):
            x = F.relu(self.norm(self.first(x)))
            return self.head(F.relu(self.second(x)).mean((2, 3)))

    def build():
        return Net()

    def narrow():
        return Net(6)

    def needy(size):
        return Net(size)

    def number():
        return 3

    def fails():
        raise RuntimeError("no weather today")

    def batches():
        generator = torch.Generator().manual_seed(1)
        return [(torch.randn(20, 3, 8, 8, generator=generator), torch.arange(20) % 10) for _ in range(2)]

    constant = 5
"""


def cli(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(result: Result, *texts: str) -> None:
    """Exit code 1, one line on stderr that says all of `texts`, nothing else, no traceback."""
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("prunekit: ") and result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    for text in texts:
        assert text in result.stderr


@pytest.fixture
def net(tmp_path: Path, monkeypatch) -> Path:
    """A user's folder with a model file, and trained weights beside it; the current folder."""
    (tmp_path / "net.py").write_text(textwrap.dedent(MODEL))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = builders.builder("net.py:build")()
    torch.save(model.state_dict(), "net.pt")
    return tmp_path


def test_help_explains_itself():
    for arguments in ([], ["--help"], ["-h"]):
        found = cli(*arguments)
        text = " ".join(found.output.split())
        assert found.exit_code == (0 if arguments else 2), "without a command there is nothing to do: usage"
        assert "Your own network: `sweep` shows how much each layer can lose" in text
    for command in ("list", "costs", "claims", "reproduce", "merge", "sweep", "prune"):
        found = cli(command, "--help")
        assert found.exit_code == 0 and "Usage" in found.output and len(found.output) > 150
    assert cli("--version").output.strip() == pk.__version__


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["prune", "vgg16"],
        ["prune", "vgg16", "--out", "x", "--rate", "features.0=much"],
        ["prune", "vgg16", "--out", "x", "--rate", "0.5", "--rate", "features.0=0.5"],
        ["prune", "vgg16", "--out", "x", "--rate", "0.5", "--rate", "0.3"],
        ["prune", "vgg16", "--out", "x", "--rate", "=0.5"],
        ["prune", "vgg16", "--out", "x", "--keep", "5"],
        ["prune", "vgg16", "--out", "x", "--rate", "0.5", "--input", "1x3"],
        ["sweep", "vgg16"],
        ["reproduce", "all", "--for", "soon"],
        ["reproduce", "all", "--shard", "3/2"],
        ["reproduce", "all", "--shard", "half"],
        ["reproduce"],
    ],
)
def test_wrong_usage_is_code_2(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = cli(*arguments)
    assert found.exit_code == 2 and "Usage" in found.stderr
    assert not list(tmp_path.iterdir())


def test_the_command_is_installed_and_refuses_in_one_sentence():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("prunekit")), "reproduce", "sensitivity-vgg"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "Did you mean 'sensitivity-vgg16'" in done.stderr


def test_list_has_a_line_for_everything():
    text = cli("list").output
    wanted = [*nets.NETWORKS, *pk.criteria.CRITERIA, *experiments.EXPERIMENTS, "resnet56-b", "digits", "cifar10-short"]
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    assert set(wanted) <= set(lines)
    assert all(len(line.split()) > 3 for line in lines.values())


def test_costs_as_csv_has_every_exact_count():
    table = pd.read_csv(io.StringIO(cli("costs", "--csv").output))
    whole = table[table["layer"] == "all"]
    found = {(row["name"], row["projections"]): (row["flop"], row["params"]) for row in whole.to_dict("records")}
    wanted = {(n, "without" if n in WITH_PROJECTIONS else "none"): c for n, c in COUNTS.items()}
    assert found == wanted | {(name, "with"): c for name, c in WITH_PROJECTIONS.items()}
    for name in ("vgg16", "vgg16-a"):
        layers = table[(table["name"] == name) & (table["layer"] != "all")]
        assert len(layers) == 15 and (layers["flop"].sum(), layers["params"].sum()) == COUNTS[name]


def test_costs_as_text_marks_the_five_cells():
    text = cli("costs").output
    rows = [line for line in text.splitlines() if line.strip().startswith(("VGG", "ResNet")) and "," not in line]
    assert len(rows) == 12 and "".join(rows).count("†") == 5
    assert "3.13e8 3.13e8" in rows[0] and "13.7%† 13.8%" in "".join(rows)
    assert text.count("3,663,761,408") == 1 and "conv 13" in text


def test_claims_from_a_ledger(tmp_path):
    found = cli("claims", "--results", tmp_path)
    assert found.exit_code == 0 and "1.vgg16-a  HOLDS" in found.output and "2b.1  NOT TESTED" in found.output
    table = pd.read_csv(io.StringIO(cli("claims", "--results", tmp_path, "--csv").output))
    assert set(table["id"]) >= {"2", "2a.1", "2b.5", "1.resnet34-c"}
    refused(cli("claims", "--setting", "digit"), "Unknown setting 'digit'", "'digits'")
    for setting in ("largest", "cifar10"):
        refused(cli("claims", "--results", tmp_path / "none", "--setting", setting), f"no folder {tmp_path / 'none'}")


def test_claims_are_judged_on_the_largest_setting_unless_one_is_named(tmp_path):
    for setting, correct in (("digits", 300), ("cifar10-short", 300), ("cifar10", 8000)):
        ledger = Ledger(tmp_path, setting)
        rows = [
            {"network": "vgg16", "seed": 0, "split": "test", "layer": f"conv{n}", "number": n, "criterion": "l1",
             "rate": 0.8, "filters": 64, "kept": 12, "correct": correct // n, "total": 10_000,
             "baseline_correct": 8000}
            for n in (1, 2)
        ]  # fmt: skip
        with ledger.run("made up") as run:
            ledger.add("sensitivity-vgg16", rows, ["seed", "split", "layer", "rate"], run)

    def verdict(*options) -> str:
        table = pd.read_csv(io.StringIO(cli("claims", "--results", tmp_path, "--csv", *options).output))
        row = table.set_index("id").loc["2b.4"]
        return f"{row['verdict']} in {row['setting']}"

    assert verdict() == verdict("--setting", "largest") == verdict("--setting", "cifar10") == "holds in cifar10"
    assert verdict("--setting", "cifar10-short") == "holds in cifar10-short"
    assert verdict("--setting", "digits") == "holds in digits"
    assert "Of " in cli("claims", "--results", tmp_path).output.splitlines()[-1]


# Reproduce.


@pytest.fixture
def slow(monkeypatch) -> None:
    """Two experiments, "slow" of ten rows and "short" of two, by a clock that goes on by a second with each row.

    So a limit of three seconds is up in the middle of the third, however busy the machine is.
    """
    running = []

    class Timer:
        def __init__(self, seconds: float, end: Callable[[], None]):
            self.left, self.end = seconds, end

        def start(self) -> None:
            running.append(self)

        def cancel(self) -> None:
            running.remove(self)

        def join(self) -> None: ...

    def part(name: str, n: int) -> Part:
        def code(job) -> None:
            with job.ledger.run(command=f"prunekit reproduce {name}", seed=job.seed) as run:
                job.ledger.add(name, [{"n": n, "seed": job.seed}], ["n"], run)
                for timer in running:
                    timer.left -= 1
                    if timer.left == 0:
                        timer.end()

        return Part(name, {"n": n}, code, lambda setting: Work("vgg16"))

    monkeypatch.setattr(options.threading, "Timer", Timer)
    for name, rows in (("slow", 10), ("short", 2)):
        parts = [part(name, n) for n in range(rows)]
        made = Experiment(name, f"Something {name}", "no figure", lambda job, parts=parts: parts)
        monkeypatch.setitem(experiments.EXPERIMENTS, name, made)


def test_a_command_in_the_background_stops_in_time(slow, tmp_path):
    """A shell starts it with SIGINT ignored; that is put back afterwards."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert "Time is up" in cli("reproduce", "slow", "--results", tmp_path, "--for", "3s").output
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(Ledger(tmp_path).table("slow")) == 3


def test_reproduce_stops_in_time_and_goes_on(slow, tmp_path):
    for rows in (3, 6):
        found = cli("reproduce", "slow", "--results", tmp_path, "--for", "3s", "--seed", 5)
        assert found.exit_code == 0 and "Time is up" in found.output
        table = Ledger(tmp_path).table("slow")
        assert list(table["n"]) == list(range(rows)) and set(table["seed"]) == {5}
    assert "Time is up" not in cli("reproduce", "slow", "--results", tmp_path, "--for", "5s", "--seed", 5).output
    assert len(Ledger(tmp_path).table("slow")) == 10


def test_reproduce_says_where_the_rows_are(tmp_path, monkeypatch):
    def code(job) -> None:
        with job.ledger.run(command="x") as run:
            job.ledger.add("quick", [{"n": 1}], ["n"], run)

    part = Part("quick", {"n": 1}, code, lambda setting: Work("vgg16"))
    made = Experiment("quick", "Something quick", "no figure", lambda job: [part])
    monkeypatch.setitem(experiments.EXPERIMENTS, "quick", made)
    found = cli("reproduce", "quick", "--results", tmp_path)
    assert found.exit_code == 0 and f"1 rows in {tmp_path / 'digits' / 'quick.csv'}" in found.output
    refused(cli("reproduce", "quick", "--setting", "imagenet"), "Unknown setting 'imagenet'")


def test_reproduce_takes_several_names_and_a_share_of_their_parts(slow, tmp_path):
    found = cli("reproduce", "short", "slow", "--results", tmp_path / "a", "--for", "3s")
    assert found.exit_code == 0 and f"2 rows in {tmp_path / 'a' / 'digits' / 'short.csv'}" in found.output
    assert [len(Ledger(tmp_path / "a").table(name)) for name in ("short", "slow")] == [2, 1]
    assert cli("reproduce", "slow", "--results", tmp_path / "b", "--shard", "1/2", "--for", "3s").exit_code == 0
    assert list(Ledger(tmp_path / "b").table("slow")["n"]) == [0, 2, 4]


def test_reproduce_refuses_at_once_to_train_what_there_are_results_of(tmp_path):
    """As in a copy of the project, which has the digits' results and not their weights."""
    shutil.copytree(Ledger(setting="digits").folder, tmp_path / "results" / "digits")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.csv")}
    ways = ("vgg16-seed0.safetensors", "does not come with the project", "--results mine")
    refused(cli("reproduce", "baseline-vgg16", "--results", tmp_path / "results"), "has results of vgg16", *ways)
    assert cli("reproduce", "sensitivity-vgg16", "--results", tmp_path / "results").exit_code == 0, "all rows are there"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.csv")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_estimate_says_what_is_left_and_does_nothing(slow, tmp_path, monkeypatch):
    monkeypatch.setattr(estimates, "here", lambda setting: lambda network: estimates.Speed(60, 0, 0))
    part = Part("long", {"n": 1}, lambda job: None, lambda setting: Work("vgg16", trained=30))
    monkeypatch.setitem(experiments.EXPERIMENTS, "long", Experiment("long", "Long", "none", lambda job: [part]))
    found = cli("reproduce", "slow", "long", "--results", tmp_path, "--estimate")
    assert found.exit_code == 0 and not list(tmp_path.iterdir())
    lines = [line.split() for line in found.output.splitlines()[1:]]
    assert lines == [
        ["slow", "10", "parts", "0", "s", "0", "s", "so", "far"],
        ["long", "1", "parts", "30", "min", "30", "min", "so", "far"],
    ]


def test_all_with_a_limit_says_first_what_each_will_cost(slow, tmp_path, monkeypatch):
    monkeypatch.setattr(estimates, "here", lambda setting: lambda network: estimates.Speed(0, 0, 0))
    monkeypatch.setattr(experiments, "EXPERIMENTS", {"slow": experiments.EXPERIMENTS["slow"]})
    found = cli("reproduce", "all", "--results", tmp_path, "--for", "3s").output
    assert found.index("10 parts") < found.index("slow: Something slow") < found.index("Time is up")


def test_results_of_two_machines_are_merged(slow, tmp_path):
    for k in (1, 2):
        cli("reproduce", "slow", "--results", tmp_path / str(k), "--shard", f"{k}/2", "--for", "3s")
    found = cli("merge", tmp_path / "2", "--results", tmp_path / "1")
    assert found.output == f"3 rows of digits from {tmp_path / '2'}\n"
    assert cli("merge", tmp_path / "2", "--results", tmp_path / "1").output.startswith("0 rows")
    message = "no results of digits, cifar10-short, cifar10 in"
    refused(cli("merge", tmp_path / "3", "--results", tmp_path / "1"), message, "3")


# A user's own network.

PRUNE = ("prune", "net.py:build", "--input", "1,3,8,8")


def test_prune_writes_a_smaller_network_that_loads_and_computes_the_same(net):
    found = cli(*PRUNE, "--weights", "net.pt", "--rate", "first=0.5", "--out", "s.safetensors")
    assert found.exit_code == 0, found.output
    assert "first: 12 -> 6" in found.output
    build = builders.builder("net.py:build")
    small = pk.load("s.safetensors", build)
    model, _ = builders.filled(build, "net.pt")
    graph = pk.trace(model, torch.randn(1, 3, 8, 8))
    masked = pk.mask(model, pk.plan(graph, {"first": 0.5}))
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(small.eval()(x), masked.eval()(x))
    macs = next(line for line in found.output.splitlines() if line.strip().startswith("macs"))
    before = 64 * 9 * (3 * 12 + 12 * 8) + 80
    after = 64 * 9 * (3 * 6 + 6 * 8) + 80
    assert macs.split() == ["macs", str(before), str(after), f"{100 * (1 - after / before):.1f}%"]


def test_a_pruned_file_can_be_pruned_again(net):
    first = (*PRUNE, "--weights", "net.pt", "--keep", "first=6", "--out", "a.safetensors")
    second = (*PRUNE, "--weights", "a.safetensors", "--keep", "first=3", "--out", "b.safetensors")
    assert cli(*first).exit_code == cli(*second).exit_code == 0
    small = pk.load("b.safetensors", builders.builder("net.py:build"))
    assert small.get_parameter("first.weight").shape[0] == 3 and len(pk.plans_of("b.safetensors")) == 2


def test_one_rate_for_all_an_activation_criterion_and_a_network_of_ours(net):
    found = cli(
        "prune", "net.py:build", "--input", "1,3,8,8", "--rate", "0.5", "--criterion", "mean-mean",
        "--data", "net.py:batches", "--out", "a.safetensors",
    )  # fmt: skip
    assert found.exit_code == 0 and "first: 12 -> 6" in found.output and "second: 8 -> 4" in found.output
    found = cli("prune", "resnet20", "--rate", "layer1.*.conv1=0.5", "--strategy", "greedy", "--out", "r.safetensors")
    assert found.exit_code == 0 and found.output.count("16 -> 8") == 3


def test_sweep_counts_and_writes(net):
    arguments = ("sweep", "net.py:build", "--weights", "net.pt", "--data", "net.py:batches", "--input", "1,3,8,8")
    found = cli(*arguments, "--rate", 0.25, "--rate", 0.5, "--out", "t.csv")
    assert found.exit_code == 0, found.output
    table = pd.read_csv("t.csv")
    assert list(table["layer"]) == ["first", "first", "second", "second"] and set(table["total"]) == {40}
    assert f"{table['baseline_correct'][0]} of 40 right" in found.output and "0.25" in found.output
    again = cli(*arguments, "--rate", 0.5, "--layer", "first", "--csv")
    row = pd.read_csv(io.StringIO(again.stdout)).iloc[0]
    assert (row["kept"], row["correct"]) == (6, table["correct"][1])
    rows = [line.split() for line in cli(*arguments).stdout.splitlines()[-2:]]
    assert [(row[0], len(row) - 1) for row in rows] == [("first", 9), ("second", 8)], "0.9 of 8 filters leaves none"


@pytest.mark.parametrize(
    "arguments, texts",
    [
        (["net.py:build", "--rate", "frist=0.5"], ["no layer 'frist'", "'first'"]),  # codespell:ignore frist
        (["net.py:build", "--rate", "first=1.5"], ["rate 1.5"]),
        (["net.py:build", "--rate", "first=nan"], ["rate nan"]),
        (["net.py:build", "--rate", "first=0.5", "--input", "1,5,8,8"], ["(1, 5, 8, 8)"]),
        (["net.py:build", "--rate", "first=0.5", "--criterion", "l3"], ["Unknown criterion 'l3'"]),
        (["net.py:build", "--rate", "first=0.5", "--strategy", "greed"], ["Strategy 'greed'"]),
        (["net.py:build"], ["Nothing to do: give --rate or --keep"]),
        (["net.py:bild", "--rate", "0.5"], ["no function 'bild'", "'build'"]),
        (["net.py:constant", "--rate", "0.5"], ["is a int, not a function"]),
        (["net.py:number", "--rate", "0.5"], ["returned a int"]),
        (["net.py:needy", "--rate", "0.5"], ["without arguments", "'size'"]),
        (["net.py:fails", "--rate", "0.5"], ["no weather today", "net.py, line"]),
        (["not.py:build", "--rate", "0.5"], ["no file not.py"]),
        (["net", "--rate", "0.5"], ["Unknown network 'net'", "package.module:function"]),
        (["nowhere.models:build", "--rate", "0.5"], ["nowhere.models cannot be imported"]),
        (["vgg17", "--rate", "0.5"], ["Did you mean 'vgg16'"]),
        (["net.py:build", "--rate", "0.5", "--weights", "none.pt"], ["no file none.pt in "]),
        (["net.py:narrow", "--rate", "0.5", "--weights", "net.pt"], ["weights of another network", "first.weight"]),
        (["net.py:build", "--rate", "0.5", "--data", "digit"], ["Unknown data set 'digit'"]),
    ],
)
def test_refusals_are_one_sentence_and_write_nothing(net, arguments, texts):
    before = sorted(p.name for p in net.iterdir() if p.name != "__pycache__")
    shape = [] if "--input" in arguments else ["--input", "1,3,8,8"]
    refused(cli("prune", *arguments, *shape, "--out", "small.safetensors"), *texts)
    assert sorted(p.name for p in net.iterdir() if p.name != "__pycache__") == before


def test_a_module_of_the_current_folder_is_found(net):
    (net / "mine").mkdir()
    (net / "mine" / "models.py").write_text("import torch\n\ndef build():\n    return torch.nn.Linear(2, 2)\n")
    assert isinstance(builders.builder("mine.models:build")(), nn.Linear)


def test_weights_in_every_form_and_damaged(net):
    from safetensors.torch import save_file

    build = builders.builder("net.py:build")
    wanted, _ = builders.filled(build, "net.pt")
    state = wanted.state_dict()
    save_file(state, "plain.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, "wrapped.pth")
    for name in ("plain.safetensors", "wrapped.pth"):
        model, plans = builders.filled(build, name)
        assert plans == [] and all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    for name in ("plain.safetensors", "net.pt"):
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) // 2])
        with pytest.raises(FileError, match=name):
            builders.filled(build, name)
    torch.save(wanted, "whole.pt")
    with pytest.raises(FileError, match="cannot be read as plain weights"):
        builders.filled(build, "whole.pt")
    torch.save([1, 2], "list.pt")
    with pytest.raises(FileError, match="something else than weights"):
        builders.filled(build, "list.pt")


def test_a_file_that_does_not_run_is_refused_with_its_line(net):
    (net / "broken.py").write_text("import torch\nraise OSError('no such disk')\n")
    with pytest.raises(PrunekitError, match=r"broken\.py cannot be run: OSError: no such disk \(broken\.py, line 2"):
        builders.named("broken.py:build")
    (net / "typo.py").write_text("def build(:\n")
    with pytest.raises(PrunekitError, match=r"SyntaxError.*line 1"):
        builders.named("typo.py:build")
