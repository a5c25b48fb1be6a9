"""The paper's pruned networks as data: which layers, by the paper's numbers, lose what share of their filters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .. import nets
from ..errors import PrunekitError, nearest
from ..plans import kept_count, plan
from ..surgery import prune
from ..tracing import trace

IMAGES = {"resnet34": (1, 3, 224, 224)}  # one image, (N, C, H, W); the others take the shape below
CIFAR_IMAGE = (1, 3, 32, 32)


@dataclass(frozen=True)
class Configuration:
    """A pruned network: `rates` by layer number, and for projection shortcuts `projections` by stage.

    A number stands for one conv (see `nets.numbered`). Where a projection is named, it chooses: the second convs of its
    stage lose the same filters. `rule` says in words what the paper says.
    """

    name: str
    title: str
    network: str
    rule: str
    numbers: Mapping[int, float] = field(default_factory=dict)
    projections: Mapping[int, float] = field(default_factory=dict)

    def rates(self, model: nn.Module) -> dict[str, float]:
        """The rates by module name of `model`, which is this configuration's unpruned network at any width."""
        names = nets.numbered(model)
        if missing := [number for number in self.numbers if number not in names]:
            raise PrunekitError(f"{self.title} prunes layer {missing[0]}, which this network does not have.")
        shortcuts = {f"layer{stage}.0.downsample.0": rate for stage, rate in self.projections.items()}
        return {names[number]: rate for number, rate in self.numbers.items()} | shortcuts

    def shallower(self, depth: int) -> "Configuration":
        """The same for a ResNet of fewer layers, for 32x32 images both.

        Each of its blocks stands for a run of the paper's blocks. It is skipped where one of these is; if not, it gets
        their rate.
        """
        many, few = ((layers - 2) // 6 for layers in (int(self.network.removeprefix("resnet")), depth))
        numbers = {}
        for stage in range(3):
            for i in range(few):
                run = range(stage * many + i * many // few + 1, stage * many + (i + 1) * many // few + 1)
                rates = {self.numbers.get(2 * block) for block in run}
                if None not in rates:
                    numbers[2 * (stage * few + i + 1)] = max(r for r in rates if r is not None)
        here = f"resnet{depth}"
        return replace(
            self,
            name=self.name.replace(self.network, here),
            title=self.title.replace(self.network.replace("resnet", "ResNet-"), f"ResNet-{depth}"),
            network=here,
            rule=f"as {self.title}, each block in place of {many / few:g} of its blocks",
            numbers=numbers,
        )

    def fresh(self, model: nn.Module, example: Tensor) -> nn.Module:
        """The pruned shape of `model`, which is traced on `example`, with weights drawn anew, for training it from
        scratch: what is left of a larger network's first weights would be its larger ones."""
        small = prune(model, plan(trace(model, example), self.rates(model)))
        for module in small.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]
        nets.initialize(small)
        return small


def _first_convs(blocks: Iterable[int], rate: float, skip: Iterable[int] = ()) -> dict[int, float]:
    """The first conv of each block, which is layer 2b of block b, without the numbers in `skip`."""
    left_out = set(skip)
    return {2 * block: rate for block in blocks if 2 * block not in left_out}


def _stages(sizes: Iterable[int], rates: Iterable[float], skip: Iterable[int]) -> dict[int, float]:
    """First convs stage by stage: `sizes` blocks each, one rate each."""
    found, first = {}, 1
    for size, rate in zip(sizes, rates, strict=True):
        found |= _first_convs(range(first, first + size), rate, skip)
        first += size
    return found


_SKIP34 = (2, 8, 14, 16, 26, 28, 30, 32)

CONFIGURATIONS: dict[str, Configuration] = {
    c.name: c
    for c in (
        Configuration(
            "vgg16-a", "VGG-16-A", "vgg16", "50% of conv 1 and of convs 8 to 13",
            dict.fromkeys((1, 8, 9, 10, 11, 12, 13), 0.5),
        ),
        Configuration(
            "resnet56-a", "ResNet-56-A", "resnet56", "10% of every first conv but 16, 20, 38, 54",
            _stages((9, 9, 9), (0.1, 0.1, 0.1), skip=(16, 20, 38, 54)),
        ),
        Configuration(
            "resnet56-b", "ResNet-56-B", "resnet56",
            "60%, 30%, 10% of first convs by stage, but 16, 18, 20, 34, 38, 54",
            _stages((9, 9, 9), (0.6, 0.3, 0.1), skip=(16, 18, 20, 34, 38, 54)),
        ),
        Configuration(
            "resnet110-a", "ResNet-110-A", "resnet110", "50% of first convs of stage 1 but 36",
            _stages((18,), (0.5,), skip=(36,)),
        ),
        Configuration(
            "resnet110-b", "ResNet-110-B", "resnet110", "50%, 40%, 30% of first convs by stage, but 36, 38, 74",
            _stages((18, 18, 18), (0.5, 0.4, 0.3), skip=(36, 38, 74)),
        ),
        Configuration(
            "resnet34-a", "ResNet-34-A", "resnet34",
            "30% of first convs of stages 1 to 3, but 2, 8, 14, 16, 26",
            _stages((3, 4, 6), (0.3, 0.3, 0.3), skip=_SKIP34),
        ),
        Configuration(
            "resnet34-b", "ResNet-34-B", "resnet34",
            "50%, 60%, 40% of first convs of stages 1 to 3, but 2, 8, 14, 16, 26",
            _stages((3, 4, 6), (0.5, 0.6, 0.4), skip=_SKIP34),
        ),
        Configuration(
            "resnet34-c", "ResNet-34-C", "resnet34",
            "20% of stage 3's shortcut and second convs, chosen by the projection",
            projections={3: 0.2},
        ),
    )
}  # fmt: skip


def configuration(name: str) -> Configuration:
    """The configuration called `name`, "resnet56-b" say."""
    if name not in CONFIGURATIONS:
        known = ", ".join(CONFIGURATIONS)
        raise PrunekitError(f"Unknown configuration {name!r}; there are: {known}.{nearest(name, CONFIGURATIONS)}")
    return CONFIGURATIONS[name]


def image(network: str) -> Tensor:
    """One image of zeros of the size that a network of the paper is made for."""
    return torch.zeros(IMAGES.get(network, CIFAR_IMAGE))


def build(name: str, **options) -> nn.Module:
    """A network of the paper with fresh weights: "vgg16", or pruned, "vgg16-a"; `options` go to the network's function.

    The weights of a pruned shape are drawn anew after the cut.
    """
    if name in nets.NETWORKS:
        return nets.build(name, **options)
    if name not in CONFIGURATIONS:
        known = [*nets.NETWORKS, *CONFIGURATIONS]
        raise PrunekitError(f"Unknown network {name!r}; there are: {', '.join(known)}.{nearest(name, known)}")
    chosen = CONFIGURATIONS[name]
    return chosen.fresh(nets.build(chosen.network, **options), image(chosen.network))


def widths(name: str, **options) -> dict[int, tuple[int, int]]:
    """For each numbered layer that a configuration names: its filters before and after. No network is cut for it."""
    chosen = configuration(name)
    model = nets.build(chosen.network, **options)
    names = nets.numbered(model)
    before = {number: model.get_parameter(f"{names[number]}.weight").shape[0] for number in chosen.numbers}
    return {number: (n, kept_count(names[number], n, chosen.numbers[number])) for number, n in before.items()}
