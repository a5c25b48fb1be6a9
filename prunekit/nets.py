"""The paper's networks: VGG-16 and ResNet-20/56/110 for 32x32 images, and ResNet-34 from torchvision.

Layers carry torchvision's names. The paper counts layers instead; `numbered` translates.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import PrunekitError, nearest

VGG16_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
RESNET_WIDTHS = (16, 32, 64)


class VGG16(nn.Module):
    """VGG-16 for 32x32 images: 13 convs with BN and ReLU, a max-pool after each stage, two linear layers."""

    def __init__(self, width: float, num_classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for stage in VGG16_STAGES:
            for filters in (scaled(n, width) for n in stage):
                layers += [
                    nn.Conv2d(inputs, filters, 3, padding=1, bias=False),
                    nn.BatchNorm2d(filters),
                    nn.ReLU(inplace=True),
                ]
                inputs = filters
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(inputs, inputs), nn.BatchNorm1d(inputs), nn.ReLU(inplace=True), nn.Linear(inputs, num_classes)
        )
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (N, 512, 1, 1)
        return self.classifier(torch.flatten(x, 1))


class PaddedShortcut(nn.Module):
    """The parameter-free shortcut: subsample the maps, then append zero maps until there are enough.

    How many are enough is read off the maps that the shortcut is added to, so a pruned block needs no other code.
    """

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, like.size(1) - x.size(1)))


class BasicBlock(nn.Module):
    """Two 3x3 convs and a shortcut: `identity`, `pad` (no parameters) or `projection` (1x1 conv and BN)."""

    def __init__(self, inputs: int, filters: int, stride: int, shortcut: str):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, filters, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.shortcut = PaddedShortcut(stride) if shortcut == "pad" else None
        self.downsample = None
        if shortcut == "projection":
            self.downsample = nn.Sequential(nn.Conv2d(inputs, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.shortcut is not None:
            x = self.shortcut(x, out)
        elif self.downsample is not None:
            x = self.downsample(x)
        return self.relu(out + x)


class ResNet(nn.Module):
    """ResNet for 32x32 images: a stem conv, three stages of basic blocks at 32, 16 and 8 pixels, a linear layer."""

    def __init__(self, blocks: int, shortcut: str, width: float, num_classes: int):
        super().__init__()
        widths = [scaled(n, width) for n in RESNET_WIDTHS]
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = residual_stage(widths[0], widths[0], blocks, 1, "identity")
        self.layer2 = residual_stage(widths[0], widths[1], blocks, 2, shortcut)
        self.layer3 = residual_stage(widths[1], widths[2], blocks, 2, shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[2], num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (N, 16, 32, 32)
        x = self.layer3(self.layer2(self.layer1(x)))  # (N, 64, 8, 8)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def residual_stage(inputs: int, filters: int, blocks: int, stride: int, shortcut: str) -> nn.Sequential:
    """`blocks` basic blocks, of which the first changes the number and the size of the maps."""
    first = BasicBlock(inputs, filters, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(filters, filters, 1, "identity") for _ in range(blocks - 1)))


def scaled(filters: int, width: float) -> int:
    """`filters` times `width`, to the nearest integer, at least one."""
    if not 0 < width < float("inf"):
        raise PrunekitError(f"width {width} is not a factor for the number of filters; take one above 0.")
    return max(1, round(filters * width))


def initialize(model: nn.Module) -> None:
    """He initialization over the fan-out, as in the code that the paper builds on; linear layers keep torch's."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def vgg16(width: float = 1.0, num_classes: int = 10) -> VGG16:
    """VGG-16 for inputs (N, 3, 32, 32), logits (N, num_classes); `width` multiplies every layer's filters.

    Source: section 4.1 of the paper, after Simonyan & Zisserman (2015): 14,977,728 weights at width 1.
    """
    return VGG16(width, num_classes)


def resnet(depth: int, shortcut: str = "pad", width: float = 1.0, num_classes: int = 10) -> ResNet:
    """ResNet of `depth` = 6n + 2 layers for inputs (N, 3, 32, 32), logits (N, num_classes).

    `shortcut` says what a block does where the number of maps changes: "pad" appends zero maps (the paper's choice on
    CIFAR-10), "projection" uses a 1x1 conv. Source: section 4.2 of the paper, after He et al. (2016).
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise PrunekitError(f"resnet: depth {depth} is not 6n + 2; take 20, 32, 44, 56, 110 or the like.")
    if shortcut not in ("pad", "projection"):
        raise PrunekitError(f"resnet: shortcut {shortcut!r} is unknown; take 'pad' or 'projection'.")
    return ResNet(blocks, shortcut, width, num_classes)


def resnet20(shortcut: str = "pad", width: float = 1.0, num_classes: int = 10) -> ResNet:
    """`resnet` of depth 20."""
    return resnet(20, shortcut, width, num_classes)


def resnet56(shortcut: str = "pad", width: float = 1.0, num_classes: int = 10) -> ResNet:
    """`resnet` of depth 56: 848,944 weights with padded shortcuts."""
    return resnet(56, shortcut, width, num_classes)


def resnet110(shortcut: str = "pad", width: float = 1.0, num_classes: int = 10) -> ResNet:
    """`resnet` of depth 110: 1,719,856 weights with padded shortcuts."""
    return resnet(110, shortcut, width, num_classes)


def resnet34(num_classes: int = 1000) -> nn.Module:
    """torchvision's ResNet-34 for inputs (N, 3, 224, 224), untrained; its shortcuts are projections."""
    from ._torchvision import torchvision  # only this network needs torchvision: the others start faster without

    return torchvision.models.resnet34(weights=None, num_classes=num_classes)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "vgg16": vgg16,
    "resnet20": resnet20,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "resnet34": resnet34,
}


def build(name: str, **options) -> nn.Module:
    """The network called `name` in `NETWORKS`, with fresh weights; `options` go to its function."""
    if name not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise PrunekitError(f"Unknown network {name!r}; the known ones are {known}.{nearest(name, NETWORKS)}")
    return NETWORKS[name](**options)


def numbered(model: nn.Module) -> dict[int, str]:
    """The paper's layer numbers and the module names they stand for, for the networks of this file.

    Convs count from 1 in forward order; 1x1 projections have no number. So in a ResNet the stem is 1, and block b
    has layers 2b and 2b + 1.
    """
    convs = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and "downsample" not in name.split(".")
    ]
    return dict(enumerate(convs, start=1))
