"""What the page with the calculator knows of each network: its layers, costs, presets, and what was measured on it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from torch import nn

from polynomials import Polynomial, polynomial, units
from prunekit import nets
from prunekit.allocation import options
from prunekit.costs import Part, parts
from prunekit.ledger import Ledger
from prunekit.paper.configurations import CONFIGURATIONS, image
from prunekit.paper.reading import baseline
from prunekit.paper.table_three import measured as timed
from prunekit.paper.tables import TABLE1, Row1
from prunekit.plans import kept_count
from prunekit.surgery import tensors
from prunekit.tracing import Graph, trace

TITLES = {"vgg16": "VGG-16", "resnet56": "ResNet-56", "resnet110": "ResNet-110", "resnet34": "ResNet-34"}
IMAGES = {"resnet34": "ImageNet"}  # the others are for CIFAR-10
FULL_SIZE = ("cifar10", "cifar10-short")  # settings with the paper's networks, the largest first
CRITERION = "l1"
PROPORTIONAL = (0.5, 1.5)  # share of time over share of multiply-adds saved: within, one is taken to predict the other


@dataclass(frozen=True)
class Unit:
    """What a reader moves: a layer of the network and those tied to it. `key` stands for it in addresses, `number` is
    the paper's (0 for a shortcut), `size` the height and width of its maps."""

    key: str
    label: str
    layer: str
    number: int
    stage: int
    filters: int
    size: int
    tied: tuple[str, ...]


@dataclass(frozen=True)
class Costs:
    """A network's costs as polynomials in the filters kept of each unit.

    `plain_macs` and `plain_weights` leave out projection shortcuts, as Table 1 does. `numbers` are all floating-point
    numbers of parameters and buffers, and `counters` the bytes of the rest, which no number format changes.
    """

    macs: Polynomial
    weights: Polynomial
    plain_macs: Polynomial
    plain_weights: Polynomial
    numbers: Polynomial
    counters: int


@dataclass(frozen=True)
class Network:
    name: str
    model: nn.Module
    graph: Graph
    units: tuple[Unit, ...]
    costs: Costs

    def kept(self, percents: Sequence[int]) -> list[int]:
        """How many filters of each unit stay at these rates, in percent."""
        return [kept_count(u.layer, u.filters, p / 100) for u, p in zip(self.units, percents, strict=True)]

    def percents(self, configuration: str) -> list[int]:
        """The rates of one of the paper's configurations, in percent for each unit."""
        rates = CONFIGURATIONS[configuration].rates(self.model)
        assert set(rates) <= {unit.layer for unit in self.units}
        exact = [100 * Decimal(str(rates.get(unit.layer, 0.0))) for unit in self.units]
        assert exact == [int(rate) for rate in exact]
        return [int(rate) for rate in exact]


@cache
def network(name: str) -> Network:
    """A network of the paper with its units and costs, of which the weights do not matter."""
    model = nets.build(name)
    graph = trace(model, image(name))
    chosen = chosen_units(name, model, graph)
    return Network(name, model, graph, chosen, costs_of(graph, chosen))


def chosen_units(name: str, model: nn.Module, graph: Graph) -> tuple[Unit, ...]:
    """The conv layers that a reader can cut, stage by stage; a stage's shortcut is named by its projection."""
    numbers = {layer: number for number, layer in nets.numbered(model).items()}
    convs, found = set(graph.convs()), []
    heights: list[int] = []  # of the maps, each once: in VGG-16, one for each stage
    for tied in units(graph):
        if tied[0] not in convs:
            continue
        deciding = next((layer for layer in tied if "downsample" in layer), tied[0])
        size = square(graph, tied[-1])
        if size not in heights:
            heights.append(size)
        place = re.match(r"layer(\d)", tied[-1])
        stage = int(place[1]) if place else len(heights)
        shortcut = len(tied) > 1
        number = 0 if shortcut else numbers[deciding]
        label = "shortcut" if shortcut else f"{'conv' if name == 'vgg16' else 'layer'} {number}"
        key = f"s{stage}" if shortcut else str(number)
        found.append(Unit(key, label, deciding, number, stage, len(graph.layers[deciding]), size, tuple(tied)))
    return tuple(sorted(found, key=lambda unit: (unit.stage, unit.number == 0)))


def square(graph: Graph, layer: str) -> int:
    """The height and width of the maps that a conv makes."""
    side = round(graph.positions[graph.weights[layer]] ** 0.5)
    assert side * side == graph.positions[graph.weights[layer]]
    return side


def costs_of(graph: Graph, chosen: Sequence[Unit]) -> Costs:
    """The costs of a traced network, for the example that it was traced with."""
    whole, named = parts(graph), tensors(graph.model)

    def summed(amount: Callable[[Part], int]) -> Polynomial:
        return polynomial(graph, [unit.layer for unit in chosen], ((amount(part), part.axes) for part in whole))

    def plain(part: Part, amount: int) -> int:
        return 0 if re.search(r"\bdownsample\b", part.tensor) else amount

    return Costs(
        macs=summed(lambda part: part.full.macs),
        weights=summed(lambda part: part.full.weights),
        plain_macs=summed(lambda part: plain(part, part.full.macs)),
        plain_weights=summed(lambda part: plain(part, part.full.weights)),
        numbers=summed(lambda part: named[part.tensor].numel() * named[part.tensor].is_floating_point()),
        counters=sum(t.numel() * t.element_size() for t in named.values() if not t.is_floating_point()),
    )


def data(name: str) -> dict:
    """All that the script needs to know of a network, for JSON. Raises PrunekitError for a damaged ledger."""
    here = network(name)
    costs, sweep = here.costs, sensitivity(here)
    plain = {"macs": costs.plain_macs.data(), "weights": costs.plain_weights.data()}
    return {
        "name": name,
        "title": TITLES[name],
        "images": IMAGES.get(name, "CIFAR-10"),
        "shape": list(image(name).shape),
        "classes": len(list(here.graph.layers.values())[-1]),
        "units": [
            {
                "key": unit.key,
                "label": unit.label,
                "layer": unit.layer,
                "number": unit.number,
                "stage": unit.stage,
                "filters": unit.filters,
                "size": unit.size,
                "tied": len(unit.tied),
            }
            for unit in here.units
        ],
        "costs": {
            "macs": costs.macs.data(),
            "weights": costs.weights.data(),
            "numbers": costs.numbers.data(),
            "counters": costs.counters,
        },
        "plain": plain if costs.plain_macs != costs.macs else None,
        "presets": [preset(row, here) for row in TABLE1 if network_of(row) == name and not row.scratch],
        "sweep": sweep,
        "time": time(name),
    }


def network_of(row: Row1) -> str:
    return CONFIGURATIONS[row.name].network if row.name in CONFIGURATIONS else row.name


def preset(row: Row1, here: Network) -> dict:
    """A row of Table 1 as printed, with its rates."""
    pruned = row.name in CONFIGURATIONS
    return {
        "name": row.name,
        "title": row.title,
        "rule": CONFIGURATIONS[row.name].rule if pruned else "nothing is cut",
        "percents": here.percents(row.name) if pruned else [0] * len(here.units),
        "printed": {
            "error": f"{row.error:.2f}",
            "macs": str(row.flop),
            "macs_pruned": str(row.flop_pruned or ""),
            "weights": str(row.params),
            "weights_pruned": str(row.params_pruned or ""),
        },
    }


def sensitivity(here: Network) -> dict | None:
    """What each layer loses alone, measured on the largest setting that has rows; None if none has.

    Rows on validation images come before those on test images, since the calculator also chooses by them. Of several
    seeds the first counts. `options` has for each unit [percent, filters kept, images lost], None if it was not swept.
    """
    experiment = f"sensitivity-{here.name}"
    for setting in FULL_SIZE:
        ledger = Ledger(setting=setting)
        if experiment not in ledger.experiments():
            continue
        table = ledger.table(experiment)
        split = "validation" if "validation" in set(table["split"]) else "test"
        rows = table[(table["split"] == split) & (table["seed"] == table["seed"].min())]
        right, total = baseline(rows)
        found = options(rows, CRITERION)
        cuts = {
            layer: [[round(100 * rate), cut.kept, cut.lost] for rate, cut in sorted(each.items())]
            for layer, each in found.items()
        }
        return {
            "setting": setting,
            "experiment": experiment,
            "split": split,
            "criterion": CRITERION,
            "total": total,
            "right": right,
            "options": [cuts.get(unit.layer) for unit in here.units],
        }
    return None


def time(name: str) -> dict | None:
    """The time of a forward pass of the whole network, measured, and beside it what its pruned ones saved.

    `follows` says whether time went with multiply-adds there; if not, it is not predicted. None if nothing of this
    network was timed.
    """
    found = wall_clock(name) or forward(name)
    if found is None:
        return None
    shares = [case["time_saved"] / case["macs_saved"] for case in found["cases"]]
    return found | {"follows": all(PROPORTIONAL[0] <= share <= PROPORTIONAL[1] for share in shares)}


def wall_clock(name: str) -> dict | None:
    """Table 3 as we measured it: seconds for the test set of the largest setting that has it."""
    for setting in FULL_SIZE:
        table = timed(setting)
        rows = [r for r in table.to_dict("records") if CONFIGURATIONS[r["pair"]].network == name]
        if rows:
            return {
                "seconds": rows[0]["whole"],
                "what": "the test set",
                "where": f"{rows[0]['device']}, float32",
                "cases": [case(row["pair"], row) for row in rows],
            }
    return None


def forward(name: str) -> dict | None:
    """The benchmark of forward passes, of the paper's own widths."""
    ledger = Ledger(setting="benchmarks")
    if "forward" not in ledger.experiments():
        return None
    table = ledger.table("forward")
    rows = [
        row
        for row in table[table["multiple"] == 1].to_dict("records")
        if row["case"] in CONFIGURATIONS and CONFIGURATIONS[row["case"]].network == name
    ]
    if not rows:
        return None
    devices = ledger.origin("forward")["device"]
    return {
        "seconds": rows[0]["full"],
        "what": f"{rows[0]['batch']} images",
        "where": f"{devices.iloc[0]}, {rows[0]['full_form'].replace('_', ' ')}",
        "cases": [case(row["case"], row) for row in rows],
    }


def case(name: str, row: dict) -> dict:
    return {"title": CONFIGURATIONS[name].title, "macs_saved": row["macs_saved"], "time_saved": row["time_saved"]}
