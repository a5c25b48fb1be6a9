"""What the comparisons share: options, clocks that take turns, and rows in the ledger.

Each script runs both sides in one process on the same network and images, checks that both did the same work, and
writes medians to the setting "benchmarks" of the ledger: `python benchmarks/sweeping.py`. With `--tiny` it is over in
seconds, and shows only that it runs.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.utils import benchmark

import prunekit as pk
from prunekit import nets
from prunekit.data import Data, load
from prunekit.ledger import Ledger
from prunekit.walking import Fork, Walker

ROOT = Path(__file__).parents[1]
CIFAR_IMAGE = torch.zeros(1, 3, 32, 32)


def options(about: str, **defaults: int) -> argparse.Namespace:
    """The command line of a comparison, and the number of threads set by it."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--results", type=Path, help="folder of the ledger")
    parser.add_argument("--threads", type=int, default=2, help="threads that torch may use")
    parser.add_argument("--tiny", action="store_true", help="small networks and few images: to see that it runs")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    return chosen


def network(name: str, tiny: bool) -> tuple[nn.Module, str]:
    """A network of the paper in eval mode, "trained" if its weights are in this copy of the project, else "drawn"."""
    found = sorted((ROOT / "weights").glob(f"*/{name}-seed0.safetensors"))
    if found and not tiny:
        return pk.load(found[0], lambda: nets.build(name)).float().eval(), "trained"
    torch.manual_seed(0)
    return nets.build(name, width=0.25 if tiny else 1.0).eval(), "drawn"


def images(tiny: bool) -> Data:
    """CIFAR-10; for a tiny run scikit-learn's digits, of the same shape."""
    return load("digits" if tiny else "cifar10")


def sweep_macs(model: nn.Module, layers: list[str], rates: int) -> int:
    """Multiply-adds of a sweep of these layers, for one image."""
    graph = pk.trace(model, CIFAR_IMAGE)
    macs = pk.cost(model, CIFAR_IMAGE).set_index("layer")["macs"].to_dict()
    walker = Walker(graph)
    costs = [macs.get(str(node.target), 0) if node.op == "call_module" else 0 for node in walker.order]
    found = sum(costs)
    for layer in layers:
        fork = Fork(walker, [set(graph.layers[layer][:1])])
        found += costs[fork.start] + rates * sum(costs[fork.start + 1 :])
    return found


def in_turns(repeats: int, **sides: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each side, run in turns, so that what else the machine does hits both."""
    timers = {
        name: benchmark.Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
        for name, run in sides.items()
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, timer in timers.items():
            times[name].append(timer.timeit(1).median)
    return times


def compared(ours: Sequence[float], theirs: Sequence[float], wanted: float) -> dict[str, object]:
    """Medians in seconds, ranges, how many times faster we are, and whether that is what was wanted."""
    ratio = statistics.median(theirs) / statistics.median(ours)
    return {
        "ours": statistics.median(ours),
        "theirs": statistics.median(theirs),
        "ours_range": max(ours) - min(ours),
        "theirs_range": max(theirs) - min(theirs),
        "runs": len(ours),
        "ratio": ratio,
        "wanted": wanted,
        "reached": yes(ratio >= wanted),
    }


def yes(reached: bool) -> str:
    return "yes" if reached else "no"


def done(chosen: argparse.Namespace, table: str, **mark: object) -> bool:
    """Whether the ledger has this row already: a script that was stopped goes on with the others."""
    return not Ledger(chosen.results, "benchmarks").missing(table, [mark])


def record(chosen: argparse.Namespace, table: str, rows: Iterable[Mapping], key: Sequence[str]) -> None:
    """Write rows to the ledger and print them."""
    rows = list(rows)
    ledger = Ledger(chosen.results, "benchmarks")
    with ledger.run(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]) as run:
        ledger.add(table, rows, key, run)
    for row in rows:
        print(
            table,
            *(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in row.items()),
        )
    sys.stdout.flush()
