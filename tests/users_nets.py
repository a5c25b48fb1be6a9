"""Small networks as users write them: operations that change a tensor in place, and blocks of many code bases."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(inputs: int, filters: int, kernel: int = 3, **options) -> nn.Conv2d:
    return nn.Conv2d(inputs, filters, kernel, padding=kernel // 2, **options)


class Three(nn.Module):
    """Two convs on the image, one on what becomes of their maps, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.bn = conv(3, 6), conv(3, 6), nn.BatchNorm2d(6)
        self.c, self.fc = conv(6, 5), nn.Linear(5, 3)

    def answer(self, maps: Tensor) -> Tensor:
        return self.fc(F.relu(self.c(maps)).mean((2, 3)))


# In place


class AddedInPlace(Three):
    """A sum in place, between two layers that read what it is added to; and another name for it."""

    def __init__(self):
        super().__init__()
        self.before, self.relu, self.side = conv(6, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.bn(self.a(x))
        same, before = a, self.before(a)
        a += self.b(x)
        a -= 0.5
        self.relu(a)
        a.add_(1)
        return self.answer(same) + self.side(F.relu(before, inplace=True).mean((2, 3)))


class ScaledInPlace(Three):
    """Factors in place: one map for all, a parameter with an entry for each, numbers."""

    def __init__(self):
        super().__init__()
        self.gate, self.scale = conv(3, 1), nn.Parameter(torch.randn(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        same = a
        a *= torch.sigmoid(self.gate(x))
        a *= self.scale
        a /= 2
        a.mul_(self.b(x)).clamp_(max=1.0)
        return self.answer(same)


class HalvesInPlace(Three):
    """Halves that are changed through a view, and by an assignment: the maps of the whole are changed."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        half = a.size(1) // 2
        a[:, :half] += b[:, half:]
        left, right = a.chunk(2, 1)
        right += left
        left.relu_()
        return self.answer(a)


class PixelsInPlace(Three):
    """Pixels, and what is below zero, are set."""

    def forward(self, x: Tensor) -> Tensor:
        a = self.bn(self.a(x))
        a[:, :, 0] = 0.0
        a[..., :2] *= 2
        a[a < -1] = -1.0
        a[:, :, 3:5].zero_()
        return self.answer(a)


class MapsInPlace(Three):
    """Maps at fixed places are set: which those are would change with a cut."""

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        a[:, [0, 2]] = 0.0
        return self.answer(a) + self.answer(self.b(x))


# From code bases


class UNet(nn.Module):
    """Down, up by a transposed conv, and the maps of before beside it, padded to one size."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(conv(3, 5), nn.BatchNorm2d(5), nn.ReLU(inplace=True))
        self.middle, self.up, self.out = conv(5, 6), nn.ConvTranspose2d(6, 4, 2, 2), conv(9, 6)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        up = self.up(F.relu(self.middle(F.max_pool2d(x, 3))))
        high, wide = x.size(2) - up.size(2), x.size(3) - up.size(3)
        up = F.pad(up, [high // 2, high - high // 2, wide // 2, wide - wide // 2])
        return self.fc(self.out(torch.cat([x, up], 1)).mean((2, 3)))


class Pyramid(nn.Module):
    """Maps of three sizes, added to those of the next size up."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([conv(3, 4), conv(4, 6, stride=2), conv(6, 4, stride=2)])
        self.beside, self.fc = nn.ModuleList([nn.Conv2d(i, 5, 1) for i in (4, 6, 4)]), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        sizes = []
        for down, beside in zip(self.down, self.beside, strict=True):
            x = F.relu(down(x))
            sizes.append(beside(x))
        for i in (1, 0):
            sizes[i] = sizes[i] + F.interpolate(sizes[i + 1], size=sizes[i].shape[-2:], mode="nearest")
        return self.fc(sizes[0].mean((2, 3)))


class Cell(nn.Module):
    """A recurrent cell on maps: its state is added to what the gates make of it, as often as there are pictures."""

    def __init__(self):
        super().__init__()
        self.start, self.gates, self.fc = conv(1, 4), conv(5, 12), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = self.start(x[:, :1])
        for time in range(x.size(1)):
            forget, take, new = torch.chunk(self.gates(torch.cat([x[:, time : time + 1], state], 1)), 3, 1)
            state = torch.sigmoid(forget) * state + torch.sigmoid(take) * torch.tanh(new)
        return self.fc(state.mean((2, 3)))


class Block(nn.Module):
    """CBAM: a factor for each map, by a shared perceptron, and one for each pixel, from extremes over all maps."""

    def __init__(self):
        super().__init__()
        self.a, self.inner = conv(3, 6), nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 6))
        self.pixels, self.b, self.fc = nn.Conv2d(2, 1, 7, padding=3), conv(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        mean, most = F.avg_pool2d(x, (x.size(2), x.size(3))), F.adaptive_max_pool2d(x, 1)
        x = x * torch.sigmoid(self.inner(mean) + self.inner(most)).unsqueeze(2).unsqueeze(3).expand_as(x)
        both = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return self.fc(self.b(x * torch.sigmoid(self.pixels(both))).mean((2, 3)))


class Along(nn.Module):
    """ECA: a factor for each map, from its neighbors in the order of maps, which ties them all."""

    def __init__(self):
        super().__init__()
        self.a, self.along, self.b, self.fc = conv(3, 6), nn.Conv1d(1, 1, 3, padding=1), conv(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        factors = self.along(F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2)).transpose(-1, -2)
        return self.fc(self.b(x * torch.sigmoid(factors.unsqueeze(-1)).expand_as(x)).mean((2, 3)))


class Maxout(nn.Module):
    """The larger of two halves, of two neighbors, and of a row of pixels."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 8), conv(4, 6), conv(3, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.chunk(self.a(x), 2, 1)
        x = self.b(torch.max(left, right))
        n, c, h, w = x.shape
        x = self.c(x.view(n, c // 2, 2, h, w).max(2)[0])
        return self.fc(x.max(dim=3).values.mean(2) + x.std((2, 3)))


class Coordinates(nn.Module):
    """CoordConv: two maps that say where a pixel is, and images normalized by the network itself."""

    mean: Tensor
    where: Tensor

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = conv(3, 6), conv(8, 4), nn.Linear(4, 3)
        self.register_buffer("mean", torch.rand(1, 3, 1, 1))
        places = torch.meshgrid(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8), indexing="ij")
        self.register_buffer("where", torch.stack(places)[None])

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a((x - self.mean.to(x.device)) / 0.5))
        return self.fc(self.b(torch.cat([x, self.where.expand(x.size(0), -1, -1, -1)], 1)).mean((2, 3)))


class Attending(nn.Module):
    """Non-local: each pixel looks at all others, by products of queries and keys."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = conv(3, 6), conv(6, 4), nn.Linear(4, 3)
        self.query, self.key, self.value = (nn.Conv2d(6, 4, 1) for _ in range(3))
        self.out = nn.Conv2d(4, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        shares = torch.softmax(torch.bmm(query.transpose(1, 2), key), -1)
        x = x + self.out((value @ shares.transpose(1, 2)).view(x.size(0), -1, *x.shape[2:]))
        return self.fc(self.b(x).mean((2, 3)))


class Optional(nn.Module):
    """Inputs that need not be given, a path by name, and layers that are not there."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleDict({"a": conv(3, 6), "skip": nn.Identity(), "b": conv(6, 6)})
        self.mask, self.down, self.fc = conv(1, 6), None, nn.Linear(6, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 2.0) -> Tensor:
        for name in ("a", "skip", "b"):
            x = x + self.blocks[name](x) if name == "b" else self.blocks[name](x)
        if mask is not None:
            x = x + self.mask(mask)
        if self.down is not None:
            x = self.down(x)
        while x.size(2) > 2:
            x = F.max_pool2d(x, 2) * scale
        return self.fc(x.mean((2, 3)))


class Mixer(nn.Module):
    """MLP-Mixer: a layer across patches, whose values belong to no map, and one across maps."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 6, 2, 2), nn.LayerNorm(5)
        self.across, self.within = (
            nn.Sequential(nn.Linear(16, 7), nn.GELU(), nn.Linear(7, 16)),
            nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 5)),
        )
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.across(x.transpose(1, 2)).transpose(1, 2)
        return self.fc(self.norm(self.within(x)).mean(1))


IMAGE = ((1, 3, 8, 8),)
USERS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "added in place": (AddedInPlace, IMAGE),
    "scaled in place": (ScaledInPlace, IMAGE),
    "halves in place": (HalvesInPlace, IMAGE),
    "pixels in place": (PixelsInPlace, IMAGE),
    "maps in place": (MapsInPlace, IMAGE),
    "u-net": (UNet, IMAGE),
    "pyramid": (Pyramid, IMAGE),
    "cell": (Cell, IMAGE),
    "attention block": (Block, IMAGE),
    "attention along": (Along, IMAGE),
    "maxout": (Maxout, IMAGE),
    "coordinates": (Coordinates, IMAGE),
    "attending": (Attending, IMAGE),
    "optional": (Optional, IMAGE),
    "mixer": (Mixer, IMAGE),
}
