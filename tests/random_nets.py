"""Random architectures for Hypothesis: a network is a list of blocks, plain data that shrinks, and `build` makes it.

A block is a kind, a number that chooses among its variants, and the blocks inside it. Each takes maps of 6x6 pixels and
gives such maps; how many there are follows from what came before.
"""

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F


class Block(NamedTuple):
    kind: str
    variant: int = 0
    inside: tuple["Block", ...] = ()


class Recipe(NamedTuple):
    """A network: its blocks, whether it has a second input and a second output, and how it ends."""

    blocks: tuple[Block, ...]
    two_inputs: bool = False
    two_outputs: bool = False
    flatten: bool = False


class Residual(nn.Module):
    """x + body(x), the shortcut an identity, a projection, or padded with zero maps at the end, around, or by cat."""

    def __init__(self, body: nn.Module, inputs: int, made: int, variant: int):
        super().__init__()
        self.body, self.way = (
            body,
            ("projection", "end", "around", "cat")[variant % 4] if inputs != made else "identity",
        )
        if inputs > made or self.way == "projection":
            self.way, self.project = "projection", nn.Conv2d(inputs, made, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        lacking = y.size(1) - x.size(1)
        if self.way == "projection":
            x = self.project(x)
        elif self.way == "end":
            x = F.pad(x, (0, 0, 0, 0, 0, lacking))
        elif self.way == "around":
            x = F.pad(x, (0, 0, 0, 0, lacking // 2, lacking - lacking // 2))
        elif self.way == "cat":
            x = torch.cat([x, x.new_zeros(x.size(0), lacking, x.size(2), x.size(3))], 1)
        return x + y


class Dense(nn.Module):
    """The maps, and what the body makes of them, side by side."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


class Split(nn.Module):
    """One half of the maps stays as it is, the body works on the other, as in ShuffleNet v2."""

    def __init__(self, body: nn.Module, variant: int):
        super().__init__()
        self.body, self.variant = body, variant

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1) if self.variant % 2 else torch.split(x, x.size(1) // 2, 1)
        return torch.cat([a, self.body(b)], 1)


class Shuffle(nn.Module):
    """Maps dealt out anew among the groups."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.size()
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class Glu(nn.Module):
    """One half of the maps is the gate of the other."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.chunk(x, 2, 1)
        return a * torch.sigmoid(b)


class Twice(nn.Module):
    """One conv, called twice."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(torch.relu(self.conv(x))))


class Excite(nn.Module):
    """A factor for each map, or, with one channel, one factor map for all."""

    def __init__(self, inputs: int, factors: int):
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(inputs, 3, 1), nn.Conv2d(3, factors, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))


class Scale(nn.Module):
    """A factor for each map, a parameter of the block's own, as ConvNeXt has it."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


class Last(nn.Module):
    """A layer that works on the last axis: channels are moved there and back."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Written(nn.Module):
    """A conv written as a function of a parameter."""

    def __init__(self, inputs: int, filters: int):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(filters, inputs, 3, 3) / inputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, padding=1)


class Net(nn.Module):
    """A stem, the blocks, a head; a second input joins after the stem, a second output leaves before the last block."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.recipe = recipe
        self.stem, channels = nn.Conv2d(2, 4, 3, padding=1), 4
        self.beside = nn.Conv2d(1, 4, 3, padding=1) if recipe.two_inputs else None
        self.blocks = nn.ModuleList()
        for block in recipe.blocks:
            self.side = nn.Linear(channels, 2) if recipe.two_outputs else None
            module, channels = build(block, channels)
            self.blocks.append(module)
        self.head = nn.Linear(channels * (9 if recipe.flatten else 1), 3)

    def forward(self, x: Tensor, *more: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = self.stem(x)
        if self.beside is not None:
            x = x + self.beside(more[0])
        side = None
        for i, block in enumerate(self.blocks):
            if self.side is not None and i == len(self.blocks) - 1:
                side = self.side(x.mean((2, 3)))
            x = block(x)
        x = F.avg_pool2d(x, 2).flatten(1) if self.recipe.flatten else x.mean((2, 3))
        out = self.head(x)
        return out if side is None else (out, side)


def sequence(blocks: tuple[Block, ...], inputs: int, made: int | None = None) -> tuple[nn.Sequential, int]:
    """The blocks one after another, and a conv where that does not give the `made` maps that are wanted."""
    modules, channels = [], inputs
    for block in blocks:
        module, channels = build(block, channels)
        modules.append(module)
    if made is not None and channels != made:
        modules.append(nn.Conv2d(channels, made, 1))
        channels = made
    return nn.Sequential(*modules), channels


def build(block: Block, c: int) -> tuple[nn.Module, int]:
    """A block that takes `c` maps, and how many it gives. One that needs an even number of maps is a ReLU else."""
    kind, v, inside = block
    filters, groups = (4, 6, 8, 12)[v % 4], next(g for g in ((2, 3), (3, 2), (4, 2))[v % 3] + (1,) if c % g == 0)
    if kind in ("split", "glu") and (c % 2 or c < 4):
        return nn.ReLU(), c
    match kind:
        case "conv":
            return nn.Conv2d(c, filters, 3, padding=1, bias=v % 2 == 0), filters
        case "written":
            return Written(c, filters), filters
        case "grouped":
            return nn.Conv2d(c, 12, 3, padding=1, groups=groups), 12
        case "depthwise":
            made = c * (1 + v % 2)
            return nn.Conv2d(c, made, 3, padding=1, groups=c, bias=v % 3 == 0), made
        case "norm":
            return (nn.BatchNorm2d(c, affine=v % 2 == 0), c)
        case "group norm":
            return nn.GroupNorm(groups, c), c
        case "layer norm":
            return Last(nn.LayerNorm(c)), c
        case "linear":
            return Last(nn.Linear(c, filters)), filters
        case "activation":
            return (nn.ReLU(), nn.SiLU(), nn.Sigmoid(), nn.PReLU(), nn.PReLU(c), nn.ReLU(inplace=True))[v % 6], c
        case "pool":
            return (nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1))[v % 2], c
        case "excite":
            return Excite(c, c if v % 3 else 1), c
        case "scale":
            return Scale(c), c
        case "shuffle":
            return Shuffle(groups), c
        case "twice":
            return Twice(c), c
        case "glu":
            return Glu(), c // 2
        case "dense":
            body, made = sequence(inside, c)
            return Dense(body), c + made
        case "split":
            body, made = sequence(inside, c // 2, c // 2 if v % 3 else None)
            return Split(body, v), c // 2 + made
        case "residual":
            body, made = sequence(inside, c, c if v % 2 else None)
            return Residual(body, c, made, v // 2), made
    raise ValueError(kind)


LEAVES = (
    "conv", "activation", "norm", "depthwise", "grouped", "excite", "glu", "shuffle", "twice", "scale", "pool",
    "linear", "written", "group norm", "layer norm",
)  # fmt: skip
NESTS = ("residual", "dense", "split")

leaves = st.builds(Block, st.sampled_from(LEAVES), st.integers(0, 11), st.just(()))
blocks = st.recursive(
    leaves,
    lambda inner: st.builds(
        Block, st.sampled_from(NESTS), st.integers(0, 11), st.lists(inner, min_size=1, max_size=4).map(tuple)
    ),
    max_leaves=10,
)
recipes = st.builds(
    Recipe, st.lists(blocks, min_size=1, max_size=6).map(tuple), st.booleans(), st.booleans(), st.booleans()
)


def example(recipe: Recipe, seed: int) -> tuple[Net, list[Tensor]]:
    """The network in eval mode with random weights and statistics, in float64, and an input of four images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Net(recipe).double().eval()
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point() and tensor.dim() == 1:  # biases, norms' scales and shifts, means
                nn.init.normal_(tensor, 0.5, 0.5)
        shapes = [(4, 2, 6, 6), (4, 1, 6, 6)] if recipe.two_inputs else [(4, 2, 6, 6)]
        return model, [torch.randn(shape, dtype=torch.float64) for shape in shapes]
