"""Small networks, each with one thing that makes pruning go wrong easily, and the tools that the tests share."""

import random
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from users_nets import USERS, conv

import prunekit as pk


class Gray(nn.Module):
    """One input channel, so that the number of groups equals the number of inputs."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = conv(1, 6), conv(6, 5), nn.Linear(5 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.a(x)), 2)
        return self.fc(torch.flatten(F.relu(self.b(x)), 1))


class Around(nn.Module):
    """A sum around a conv, then a flatten: one unit that is read twice, at places of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.bn, self.b = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4 * 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.a(x)))
        return self.fc((x + self.b(x)).flatten(1))


class Viewed(nn.Module):
    """Flattened by a view that takes its sizes from the tensor; 2x2 pixels of each map remain."""

    def __init__(self):
        super().__init__()
        self.a, self.bn, self.fc = conv(3, 6), nn.BatchNorm2d(6), nn.Linear(6 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(torch.relu(self.bn(self.a(x))), 4)
        return self.fc(x.view(x.size(0), -1))


class Reshaped(Viewed):
    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(torch.relu(self.bn(self.a(x))), 4)
        return self.fc(x.reshape(x.shape[0], x.shape[1] * x.shape[2] * x.shape[3]))


class Concatenated(nn.Module):
    """A dense block: every conv reads all maps before it."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(3, 4), conv(4, 3), conv(7, 5)
        self.bn, self.fc = nn.BatchNorm2d(7), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        ab = torch.cat([a, self.b(F.relu(a))], 1)
        abc = torch.cat((ab, self.c(F.relu(self.bn(ab)))), dim=1)
        return self.fc(abc.mean((2, 3)))


class Sliced(nn.Module):
    """The first two maps go one way, all maps another: which two that are would change with a cut."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = conv(3, 6), conv(2, 5), nn.Linear(11, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.fc(torch.cat([x, self.b(x[:, :2])], 1).mean((2, 3)))


class Depthwise(nn.Module):
    """MobileNet's pair, once with one and once with two depthwise filters for each map."""

    def __init__(self):
        super().__init__()
        self.a, self.dw = conv(3, 4), conv(4, 4, groups=4)
        self.b, self.dw2, self.c = conv(4, 5, 1), conv(5, 10, groups=5), conv(10, 6, 1)
        self.bn, self.bn2, self.fc = nn.BatchNorm2d(4), nn.BatchNorm2d(10), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn(self.dw(self.a(x))))
        x = F.relu6(self.bn2(self.dw2(self.b(x))))
        return self.fc(self.c(x).mean((2, 3)))


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 4), conv(4, 6, groups=2), conv(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.c(F.relu(self.b(F.relu(self.a(x))))).mean((2, 3)))


class Shared(nn.Module):
    """One conv called twice: what it gives is what it reads."""

    def __init__(self):
        super().__init__()
        self.a, self.twice, self.b, self.fc = conv(3, 5), conv(5, 5), conv(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.twice(F.relu(self.twice(F.relu(self.a(x))))))
        return self.fc(self.b(x).mean((2, 3)))


class Tied(nn.Module):
    """Two convs with one weight, each with a bias of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 5), conv(3, 5), conv(10, 4), nn.Linear(4, 3)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([F.relu(self.a(x)), F.relu(self.b(x.flip(3)))], 1)
        return self.fc(self.c(x).mean((2, 3)))


class Attended(nn.Module):
    """Squeeze-and-excite: a factor for each map, computed from all of them."""

    def __init__(self):
        super().__init__()
        self.a, self.squeeze, self.excite = conv(3, 6), nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)
        self.b, self.fc = conv(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.a(x))
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return self.fc(self.b(x).mean((2, 3)))


class Gated(nn.Module):
    """One map, spread over six: the gate cannot go, the six can."""

    def __init__(self):
        super().__init__()
        self.a, self.gate, self.b, self.fc = conv(3, 6), conv(3, 1), conv(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.b(self.a(x) * torch.sigmoid(self.gate(x))).mean((2, 3)))


class Averaged(nn.Module):
    """A mean over maps: with fewer maps it is another mean."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = conv(3, 6), conv(1, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.b(self.a(x).mean(1, keepdim=True)).mean((2, 3)))


class Normalized(nn.Module):
    """LayerNorm over the maps of each pixel."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.fc = conv(3, 6), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.a(x).permute(0, 2, 3, 1)).mean((1, 2)))


class Permuted(nn.Module):
    """Linear layers on the last axis, on every pixel."""

    def __init__(self):
        super().__init__()
        self.a, self.fc1, self.fc2 = conv(3, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(F.relu(self.a(x)).permute(0, 2, 3, 1))
        return self.fc2(F.gelu(x)).mean((1, 2))


class Scaled(nn.Module):
    """A factor for each map, as a parameter of the network's own."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = conv(3, 6), conv(6, 4), nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.b(self.a(x) * self.scale)).mean((2, 3)))


class Doubled(nn.Module):
    """The same maps twice, added to eight others: two filters of one layer are tied to each other."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 4), conv(3, 8), conv(8, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        return self.fc(self.c(F.relu(torch.cat([a, a], 1) + self.b(x))).mean((2, 3)))


class Stacked(nn.Module):
    """Two kinds of maps in one batch."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 5), conv(3, 5), conv(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.chunk(self.c(F.relu(torch.cat([self.a(x), self.b(x)], 0))), 2, dim=0)
        return self.fc((a - b).mean((2, 3)))


class PreActivation(nn.Module):
    """BN and an in-place ReLU before each conv: the first ReLU changes the maps that the shortcut carries, too."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn1, self.bn2, self.side = conv(3, 6), nn.BatchNorm2d(6), nn.BatchNorm2d(5), conv(6, 4)
        self.a, self.b, self.relu, self.fc = conv(6, 5), conv(5, 6), nn.ReLU(inplace=True), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.stem(x))
        side = self.side(x)
        y = self.a(self.relu(x))  # from here on x is what the ReLU left of it
        y = self.b(self.relu(self.bn2(y)))
        y += x
        return self.fc(torch.cat([y, side], 1).mean((2, 3)))


class Weighted(nn.Module):
    """Softmax over maps, which needs them all, of maps that are also added to others: neither can go."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d, self.fc = conv(3, 5), conv(3, 5), conv(5, 4), conv(5, 4), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        shares = self.c(torch.softmax(b, 1))
        return self.fc(torch.cat([self.d(a + b), shares], 1).mean((2, 3)))


class PaddedProduct(nn.Module):
    """Zero maps are multiplied with others, and others are shifted and squashed before they are added."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = conv(3, 3), conv(3, 6), conv(6, 6), conv(6, 6)
        self.e, self.bn, self.fc = conv(6, 4), nn.BatchNorm2d(6), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        c = self.c(padded(a, b) * b)
        d = self.d(c + self.bn(padded(a, c)))
        return self.fc(self.e(d + torch.sigmoid(padded(a, d))).mean((2, 3)))


def padded(x: Tensor, like: Tensor) -> Tensor:
    return F.pad(x, (0, 0, 0, 0, 0, like.size(1) - x.size(1)))


class ZeroConcatenated(nn.Module):
    """A padded shortcut written with cat and a constant."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 4), conv(4, 6), conv(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        zeros = x.new_zeros(x.size(0), 2, x.size(2), x.size(3))
        return self.fc(self.c(F.relu(self.b(x) + torch.cat([x, zeros], 1))).mean((2, 3)))


class PaddedBothSides(nn.Module):
    """Zero maps before and after, half each: pruning may move the middle."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 4), conv(4, 8), conv(8, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        y = self.b(x)
        lacking = y.size(1) - x.size(1)
        x = F.pad(x, (0, 0, 0, 0, lacking // 2, lacking - lacking // 2))
        return self.fc(self.c(F.relu(x + y)).mean((2, 3)))


class TwoInputs(nn.Module):
    """Two inputs, and two outputs in a dictionary."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 5), conv(1, 5), conv(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor, depth: Tensor) -> dict[str, Tensor]:
        maps = self.c(F.relu(self.a(x) + self.b(depth)))
        return {"logits": self.fc(F.relu(maps).mean((2, 3))), "depth": depth}


class Signal(nn.Module):
    """One axis instead of two."""

    def __init__(self):
        super().__init__()
        self.a, self.bn = nn.Conv1d(2, 5, 3), nn.BatchNorm1d(5, affine=False)
        self.b, self.fc = nn.Conv1d(5, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.b(F.leaky_relu(self.bn(self.a(x))))).mean(2))


class Volume(nn.Module):
    """Three axes instead of two, and a flatten as a module."""

    def __init__(self):
        super().__init__()
        self.a, self.bn = nn.Conv3d(1, 5, 3), nn.BatchNorm3d(5)
        self.b, self.fc = nn.Conv3d(5, 4, 3), nn.Linear(4 * 8, 3)
        self.pool, self.flatten = nn.AdaptiveAvgPool3d(2), nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flatten(self.pool(self.b(F.relu(self.bn(self.a(x)))))))


class GroupCounts(nn.Module):
    """Grouped convs with several group counts in a row, and two of them on the same maps."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(3, 8), conv(8, 12, groups=4), conv(12, 12, groups=2)
        self.d, self.e, self.fc = conv(8, 6, groups=2), conv(18, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        return self.fc(self.e(torch.cat([self.c(F.relu(self.b(x))), self.d(x)], 1)).mean((2, 3)))


class Transposed(nn.Module):
    """Convs that enlarge: their weight has the inputs in front. One of them is depthwise."""

    def __init__(self):
        super().__init__()
        self.a, self.up = conv(3, 6), nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.deep, self.b = nn.ConvTranspose2d(4, 4, 2, stride=2, groups=4), conv(4, 5)
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.b(F.relu(self.deep(F.relu(self.up(F.relu(self.a(x))))))).mean((2, 3)))


class Functional(nn.Module):
    """Weights of the network's own, used by functions."""

    def __init__(self):
        super().__init__()
        self.first, self.bias = nn.Parameter(torch.randn(6, 3, 3, 3)), nn.Parameter(torch.randn(6))
        self.second, self.up = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(4, 5, 2, 2))
        self.last, self.slope = nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.rand(6))
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.prelu(F.conv2d(x, self.first, self.bias, padding=1), self.slope)
        norm = self.norm
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        x = F.conv_transpose2d(F.relu(F.conv2d(x, self.second, padding=1, groups=2)), self.up, stride=2)
        return F.linear(x.mean((2, 3)), self.last)


class GroupNormed(nn.Module):
    """GroupNorm in pairs, one for each map, and over all maps."""

    def __init__(self):
        super().__init__()
        self.a, self.pairs, self.b, self.each = conv(3, 6), nn.GroupNorm(3, 6), conv(6, 4), nn.GroupNorm(4, 4)
        self.c, self.whole, self.fc = conv(4, 5), nn.GroupNorm(1, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.each(self.b(F.relu(self.pairs(self.a(x))))))
        return self.fc(F.relu(self.whole(self.c(x))).mean((2, 3)))


class InstanceNormed(nn.Module):
    """Norms of each map alone, with and without entries, and one slope for each map."""

    def __init__(self):
        super().__init__()
        self.a, self.plain, self.slopes = conv(3, 6), nn.InstanceNorm2d(6), nn.PReLU(6)
        self.b, self.affine, self.slope = conv(6, 4), nn.InstanceNorm2d(4, affine=True), nn.PReLU()
        self.bare, self.fc = nn.GroupNorm(4, 4, affine=False), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slopes(self.plain(self.a(x)))
        return self.fc(self.slope(self.bare(self.affine(self.b(x)))).mean((2, 3)))


class Chunked(nn.Module):
    """Two halves that go different ways: each has to lose as many maps as the other."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 6), conv(3, 4), conv(3, 5), nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = F.relu(self.a(x)).chunk(2, dim=1)
        return self.fc(torch.cat([self.b(left), self.c(right)], 1).mean((2, 3)))


class Thirds(nn.Module):
    """Three parts of a size that the forward computes."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = conv(3, 6), conv(2, 4), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        q, k, v = x.split(x.size(1) // 3, 1)
        return self.fc(torch.cat([self.b(q), F.relu(k * v)], 1).mean((2, 3)))


class GatedHalves(nn.Module):
    """A gated linear unit three times: as a module, by chunk, and by slices. The halves go together."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 6), conv(3, 8), conv(4, 6), nn.Linear(3, 3)
        self.glu = nn.GLU(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.glu(self.a(x))
        value, gate = torch.chunk(self.b(x), 2, 1)
        x = self.c(value * torch.sigmoid(gate))
        half = x.size(1) // 2
        return self.fc((x[:, :half] * torch.tanh(x[:, half:])).mean((2, 3)))


class GatedOtherwise(nn.Module):
    """A gated linear unit in the other ways to write it: parts by their number, by places, and on an axis of two."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d, self.fc = conv(3, 6), conv(3, 8), conv(4, 6), conv(3, 8), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = torch.tensor_split(self.a(x), 2, dim=1)
        x = self.b(value * torch.sigmoid(gate))
        half = x.size(1) // 2
        x = self.c(x.narrow(1, 0, half) * torch.sigmoid(torch.narrow(x, -3, half, half)))
        n, c, h, w = x.size()
        x = x.view(n, 2, c // 2, h, w)
        value, gate = self.d(x[:, 0] * torch.tanh(x[:, 1])).unflatten(1, (2, -1)).unbind(1)
        return self.fc((value * torch.tanh(gate)).mean((2, 3)))


class Shuffled(nn.Module):
    """Two units of ShuffleNet v2: a half passes, the other is computed, and the two are interleaved."""

    def __init__(self):
        super().__init__()
        self.a, self.fc = conv(3, 8), nn.Linear(8, 3)
        self.inner, self.outer = (nn.ModuleList(conv(4, 4, 1) for _ in range(2)) for _ in range(2))
        self.deep = nn.ModuleList(conv(4, 4, groups=4) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        for inner, deep, outer in zip(self.inner, self.deep, self.outer, strict=True):
            left, right = x.chunk(2, dim=1)
            x = torch.cat([left, F.relu(outer(deep(F.relu(inner(right)))))], 1)
            n, c, h, w = x.size()
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.fc(x.mean((2, 3)))


class PixelShuffled(nn.Module):
    """Four maps become one of twice the size, and the other way around."""

    def __init__(self):
        super().__init__()
        self.a, self.up, self.b, self.fc = conv(3, 8), nn.PixelShuffle(2), conv(2, 3), nn.Linear(12, 3)
        self.down, self.mix = nn.PixelUnshuffle(2), nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.mix(self.down(self.b(self.up(self.a(x))))).mean((2, 3)))


class Auxiliary(nn.Module):
    """A second head that is there in training only."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc, self.aux = conv(3, 6), conv(6, 5), nn.Linear(5, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.a(x))
        out = self.fc(self.b(x).mean((2, 3)))
        return (out, self.aux(x.mean((2, 3)))) if self.training else out


class PaddedNormed(nn.Module):
    """Zero maps that pass a BN before they meet others; as many zeros as are lacking."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.bn, self.c, self.fc = (
            conv(3, 3),
            conv(3, 6),
            nn.BatchNorm2d(6),
            conv(6, 4),
            nn.Linear(4, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(x)
        return self.fc(self.c(F.relu(y + self.bn(padded(self.a(x), y)))).mean((2, 3)))


class PaddedFixed(nn.Module):
    """The shortcut of a well-known ResNet for CIFAR-10: a number of zero maps on each side that is written down."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 4), conv(4, 8), conv(8, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        return self.fc(self.c(F.relu(self.b(x) + F.pad(x, (0, 0, 0, 0, 2, 2)))).mean((2, 3)))


class DoubledByZero(nn.Module):
    """A shortcut that appends the maps times zero."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 4), conv(4, 8), conv(8, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        return self.fc(self.c(F.relu(self.b(x) + torch.cat([x, x.mul(0)], 1))).mean((2, 3)))


class Scales(nn.Module):
    """Parameters with an entry for each map, before and after, in sums and in products."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = conv(3, 6), nn.Linear(6, 4), nn.Linear(4, 3)
        self.scale, self.shift = nn.Parameter(torch.randn(6, 1, 1)), nn.Parameter(torch.randn(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = 1 - self.scale * self.a(x)
        x = torch.where(x > 0, x, 0.1 * x)
        return self.fc(F.relu(self.shift + self.b(x.mean((2, 3)) ** 2)))


class Selected(nn.Module):
    """Two branches, stacked and weighed by a softmax over the branches: their maps go together, and nothing mixes."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.weigh = conv(3, 6), conv(3, 6, 1), nn.Conv2d(6, 12, 1)
        self.c, self.fc, self.scale = conv(6, 4), nn.Linear(4, 3), nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.stack([self.a(x), self.b(x)], dim=1)
        both = F.dropout(x.sum(1), p=0.5, training=False).mean((2, 3), keepdim=True)
        shares = self.weigh(both).view(x.size(0), 2, x.size(2), 1, 1).softmax(1)
        return self.fc(self.c((x * shares).sum(dim=1) * self.scale.view(1, -1, 1, 1)).mean((2, 3)))


class OwnConv(nn.Conv2d):
    """A conv with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias, groups=self.groups)


class Subclassed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = OwnConv(3, 6, 3), OwnConv(6, 4, 3), nn.Linear(4, 3)
        self.dw = OwnConv(6, 6, 3, groups=6)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.b(self.dw(F.relu(self.a(x))))).amax((2, 3)))


class Drawn(nn.Module):
    """A network drawn at random: each step takes maps made before and makes new ones, of 8x8 pixels all."""

    def __init__(self, seed: int, steps: int = 12):
        super().__init__()
        draw = random.Random(seed)
        self.modules_of, self.program = nn.ModuleDict(), []
        channels = [3]  # of each tensor so far; tensor 0 is the input
        for step in range(steps):
            kind = draw.choice(
                ["conv", "conv", "conv", "bn", "act", "dw", "add", "mul", "cat", "pad", "excite", "pool"]
            )
            a, b = draw.randrange(len(channels)), draw.randrange(len(channels))
            if kind in ("add", "mul"):
                b = draw.choice([i for i, c in enumerate(channels) if c == channels[a]])
            if kind == "pad":
                a, b = (a, b) if channels[a] <= channels[b] else (b, a)
            made = channels[a] + channels[b] if kind == "cat" else channels[b] if kind == "pad" else channels[a]
            if kind == "conv":
                made = draw.choice([4, 4, 6])
                self.modules_of[str(step)] = conv(channels[a], made, draw.choice([1, 3]), bias=draw.random() < 0.5)
            elif kind == "bn":
                self.modules_of[str(step)] = nn.BatchNorm2d(made)
            elif kind == "act":
                self.modules_of[str(step)] = draw.choice([nn.ReLU(), nn.ReLU(inplace=True), nn.Sigmoid(), nn.SiLU()])
            elif kind == "dw":
                self.modules_of[str(step)] = conv(made, made, groups=made)
            elif kind == "excite":
                self.modules_of[str(step)] = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(made, made, 1), nn.Sigmoid())
            elif kind == "pool":
                self.modules_of[str(step)] = draw.choice([nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)])
            self.program.append((kind, a, b))
            channels.append(made)
        self.flat = draw.random() < 0.5
        self.fc = nn.Linear(sum(channels[-4:]) * (16 if self.flat else 1), 3)

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for step, (kind, a, b) in enumerate(self.program):
            x, y = made[a], made[b]
            match kind:
                case "add":
                    x = x + y
                case "mul":
                    x = x * y
                case "cat":
                    x = torch.cat([x, y], 1)
                case "pad":
                    x = [y + padded(x, y), padded(x, y) * y, y + torch.sigmoid(padded(x, y))][step % 3]
                case "excite":
                    x = x * self.modules_of[str(step)](x)
                case "act":
                    x = self.modules_of[str(step)](x + 0)  # in place on a tensor of its own
                case _:
                    x = self.modules_of[str(step)](x)
            made.append(x)
        x = torch.cat(made[-4:], 1)
        return self.fc(F.avg_pool2d(x, 2).flatten(1) if self.flat else x.mean((2, 3)))


ODD: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "gray": (Gray, ((1, 1, 8, 8),)),
    "viewed": (Viewed, ((1, 3, 8, 8),)),
    "reshaped": (Reshaped, ((1, 3, 8, 8),)),
    "concatenated": (Concatenated, ((1, 3, 8, 8),)),
    "sliced": (Sliced, ((1, 3, 8, 8),)),
    "depthwise": (Depthwise, ((1, 3, 8, 8),)),
    "shared": (Shared, ((1, 3, 8, 8),)),
    "tied": (Tied, ((1, 3, 8, 8),)),
    "attended": (Attended, ((1, 3, 8, 8),)),
    "gated": (Gated, ((1, 3, 8, 8),)),
    "averaged": (Averaged, ((1, 3, 8, 8),)),
    "normalized": (Normalized, ((1, 3, 8, 8),)),
    "permuted": (Permuted, ((1, 3, 8, 8),)),
    "scaled": (Scaled, ((1, 3, 8, 8),)),
    "doubled": (Doubled, ((1, 3, 8, 8),)),
    "stacked": (Stacked, ((1, 3, 8, 8),)),
    "pre-activation": (PreActivation, ((1, 3, 8, 8),)),
    "weighted": (Weighted, ((1, 3, 8, 8),)),
    "two inputs": (TwoInputs, ((1, 3, 8, 8), (1, 1, 8, 8))),
    "signal": (Signal, ((1, 2, 12),)),
    "volume": (Volume, ((1, 1, 8, 8, 8),)),
    "padded fixed": (PaddedFixed, ((1, 3, 8, 8),)),
    "doubled by zero": (DoubledByZero, ((1, 3, 8, 8),)),
    "subclassed": (Subclassed, ((1, 3, 8, 8),)),
}
# The probe below does not know what these do (groups, parts, computing with zero maps); tests/probe.py judges them.
DIVIDED: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "padded product": (PaddedProduct, ((1, 3, 8, 8),)),
    "padded normed": (PaddedNormed, ((1, 3, 8, 8),)),
    "grouped": (Grouped, ((1, 3, 8, 8),)),
    "group counts": (GroupCounts, ((1, 3, 8, 8),)),
    "transposed": (Transposed, ((1, 3, 8, 8),)),
    "functional": (Functional, ((1, 3, 8, 8),)),
    "group normed": (GroupNormed, ((1, 3, 8, 8),)),
    "instance normed": (InstanceNormed, ((1, 3, 8, 8),)),
    "chunked": (Chunked, ((1, 3, 8, 8),)),
    "thirds": (Thirds, ((1, 3, 8, 8),)),
    "gated halves": (GatedHalves, ((1, 3, 8, 8),)),
    "gated otherwise": (GatedOtherwise, ((1, 3, 8, 8),)),
    "shuffled": (Shuffled, ((1, 3, 8, 8),)),
    "pixel shuffled": (PixelShuffled, ((1, 3, 8, 8),)),
    "auxiliary": (Auxiliary, ((1, 3, 8, 8),)),
    "scales": (Scales, ((1, 3, 8, 8),)),
    "selected": (Selected, ((1, 3, 8, 8),)),
}
PAPER: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "vgg16": (lambda: pk.nets.vgg16(width=1 / 16), ((1, 3, 32, 32),)),
    "resnet20 pad": (lambda: pk.nets.resnet20("pad", width=1 / 4), ((1, 3, 32, 32),)),
    "resnet20 projection": (lambda: pk.nets.resnet20("projection", width=1 / 4), ((1, 3, 32, 32),)),
}
DRAWN = {f"drawn {seed}": (partial(Drawn, seed), ((1, 3, 8, 8),)) for seed in range(20)}
ALL = PAPER | ODD | DIVIDED | USERS


def made(name: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Any, list[Tensor]]:
    """The network of that name in eval mode, with random weights and BN statistics, and an input of two images."""
    builder, shapes = (ALL | DRAWN)[name]
    torch.manual_seed(seed)
    model = builder().to(dtype).eval()
    return randomize(model), [torch.randn(2, *shape[1:], dtype=dtype) for shape in shapes]


def randomize(model: Any) -> Any:
    """Random BN statistics, scales and shifts: with the fresh ones many mistakes compute the right thing."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight, 1, 0.3)
                nn.init.normal_(module.bias)
    return model


def logits(out: Tensor | dict[str, Tensor] | tuple[Tensor, ...]) -> Tensor:
    return out["logits"] if isinstance(out, dict) else torch.cat(out, 1) if isinstance(out, tuple) else out


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """The system refuses to let any file grow beyond `size` bytes, as if there were no more room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def agree(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether a equals b up to `tolerance` of the largest entry of b."""
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance * b.abs().max())


# An independent look at what belongs to a filter: poison its map, and see where the poison arrives.

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
Place = tuple[str, int]  # a module and an index of its input channels


def depthwise(module: nn.Module) -> bool:
    return isinstance(module, LAYERS[:3]) and 1 < module.groups == module.in_channels


def probe(model: nn.Module, inputs: list[Tensor]) -> dict[Place, set[Place]]:
    """Where each filter of each conv and linear layer arrives: its map is NaN, and which inputs of which layers are?

    The poison ends in the layer that reads it; it goes on through BN and depthwise convs, which are listed as well.
    Places that it reaches at the network's output are ("output", -1).
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    found: dict[Place, set[Place]] = {}

    def channels_last(module: nn.Module) -> bool:
        return isinstance(module, nn.Linear)

    for layer, module in modules.items():
        if not isinstance(module, LAYERS) or depthwise(module):
            continue
        for index in range(len(module.weight)):
            places = found.setdefault((layer, index), set())

            def poison(module: nn.Module, args, out: Tensor, index: int = index) -> Tensor:
                out = out.clone()
                out.select(-1 if channels_last(module) else 1, index).fill_(float("nan"))
                return out

            def arrive(module: nn.Module, args, name: str, places: set[Place] = places):
                x = args[0].movedim(-1, 1) if channels_last(module) else args[0]
                bad = x.isnan().transpose(0, 1).flatten(1).any(1)
                places |= {(name, i) for i in bad.nonzero()[:, 0].tolist()}
                if isinstance(module, LAYERS) and not depthwise(module):
                    return (args[0].nan_to_num(0.0), *args[1:])
                return None

            with ExitStack() as stack, torch.no_grad():
                for name, other in modules.items():
                    if isinstance(other, (*LAYERS, nn.modules.batchnorm._BatchNorm)):
                        hook = lambda m, args, name=name: arrive(m, args, name)  # noqa: E731
                        stack.callback(other.register_forward_pre_hook(hook).remove)
                stack.callback(module.register_forward_hook(poison).remove)
                if logits(model(*inputs)).isnan().any():
                    places.add(("output", -1))
    return found
