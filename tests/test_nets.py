"""The networks are the paper's: its weights, its layer numbers, its shortcuts."""

from typing import Any

import pytest
import torch
from torch import nn

from prunekit import nets
from prunekit.errors import PrunekitError


def weights(model: nn.Module, projections: bool = True) -> int:
    """Weights of conv and linear layers: the paper counts neither biases nor BN."""
    return sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and (projections or ".downsample." not in name)
    )


@pytest.mark.parametrize(
    "name, projections, expected",
    [
        ("vgg16", True, 14_977_728),
        ("resnet56", True, 848_944),
        ("resnet110", True, 1_719_856),
        ("resnet34", True, 21_779_648),
        ("resnet34", False, 21_607_616),
    ],
)
def test_weights_are_the_papers(name: str, projections: bool, expected: int):
    with torch.device("meta"):
        assert weights(nets.build(name), projections) == expected


@pytest.mark.parametrize("shortcut", ["pad", "projection"])
@pytest.mark.parametrize("depth", [20, 56])
def test_resnet_has_depth_weighted_layers(depth: int, shortcut: str):
    with torch.device("meta"):
        model = nets.resnet(depth, shortcut)
    layers = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in n]
    assert len(layers) == depth


def test_a_projection_costs_a_1x1_conv_at_each_change_of_maps():
    with torch.device("meta"):
        extra = weights(nets.resnet20("projection")) - weights(nets.resnet20("pad"))
    assert extra == 16 * 32 + 32 * 64


@pytest.mark.parametrize("name", ["vgg16", "resnet20", "resnet56"])
@pytest.mark.parametrize("num_classes", [2, 10])
def test_logits_have_the_shape_of_the_classes(name: str, num_classes: int):
    model = nets.build(name, width=1 / 16, num_classes=num_classes).eval()
    with torch.inference_mode():
        assert model(torch.randn(3, 3, 32, 32)).shape == (3, num_classes)


@pytest.mark.parametrize("width, first, last", [(1, 64, 512), (0.5, 32, 256), (1 / 16, 4, 32), (0.001, 1, 1)])
def test_width_multiplies_every_layer(width: float, first: int, last: int):
    with torch.device("meta"):
        convs = [m for m in nets.vgg16(width).modules() if isinstance(m, nn.Conv2d)]
    assert (convs[0].out_channels, convs[-1].out_channels) == (first, last)


def test_vgg16_has_the_names_of_torchvision():
    from prunekit._torchvision import torchvision

    with torch.device("meta"):
        theirs: Any = torchvision.models.vgg16_bn().features
        ours = nets.vgg16().features
    assert [type(m) for m in ours] == [type(m) for m in theirs]


def test_numbers_of_vgg16():
    numbered = nets.numbered(nets.vgg16(1 / 16))
    assert list(numbered) == list(range(1, 14))
    assert (numbered[1], numbered[2], numbered[3], numbered[13]) == (
        "features.0",
        "features.3",
        "features.7",
        "features.40",
    )


@pytest.mark.parametrize("name, blocks", [("resnet20", (3, 3, 3)), ("resnet56", (9, 9, 9)), ("resnet34", (3, 4, 6, 3))])
def test_block_b_has_layers_2b_and_2b_plus_1(name: str, blocks: tuple[int, ...]):
    with torch.device("meta"):
        numbered = nets.numbered(nets.build(name))
    names = [f"layer{s}.{i}" for s, n in enumerate(blocks, start=1) for i in range(n)]
    expected = {1: "conv1"}
    for b, block in enumerate(names, start=1):
        expected |= {2 * b: f"{block}.conv1", 2 * b + 1: f"{block}.conv2"}
    assert numbered == expected


def test_projections_have_no_number():
    numbered = nets.numbered(nets.resnet20("projection", 1 / 4))
    assert numbered == nets.numbered(nets.resnet20("pad", 1 / 4))


@pytest.mark.parametrize("name", ["vgg16", "resnet20", "resnet34"])
def test_numbers_count_in_forward_order(name: str):
    options = {} if name == "resnet34" else {"width": 1 / 16}
    model = nets.build(name, **options).eval()
    called: list[str] = []
    for number in nets.numbered(model).values():
        model.get_submodule(number).register_forward_hook(lambda m, args, out, number=number: called.append(number))
    with torch.inference_mode():
        model(torch.randn(1, 3, 32, 32))
    assert called == list(nets.numbered(model).values())


def test_padded_shortcut_subsamples_and_appends_zeros():
    x, like = torch.randn(2, 4, 8, 8), torch.empty(2, 7, 4, 4)
    y = nets.PaddedShortcut(2)(x, like)
    assert y.shape == like.shape
    assert y[:, :4].equal(x[:, :, ::2, ::2])
    assert not y[:, 4:].any()


def test_padded_shortcut_passes_the_gradient():
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    nets.PaddedShortcut(2)(x, torch.empty(2, 7, 4, 4)).sum().backward()
    assert x.grad is not None
    assert x.grad[:, :, ::2, ::2].eq(1).all()
    assert x.grad.sum() == 2 * 4 * 4 * 4


@pytest.mark.parametrize("shortcut", ["pad", "projection"])
def test_the_stem_learns_through_the_shortcuts_alone(shortcut: str):
    """With every second conv silent, a gradient reaches the first conv only if all shortcuts pass it on."""
    model = nets.resnet20(shortcut, width=1 / 4)
    for name, module in model.named_modules():
        if name.endswith("conv2"):
            assert isinstance(module, nn.Conv2d)
            nn.init.zeros_(module.weight)
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert model.conv1.weight.grad is not None
    assert model.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("depth", [0, 2, 19, 21, 54, -4])
def test_depths_that_are_no_resnet(depth: int):
    with pytest.raises(PrunekitError, match=rf"depth {depth} is not 6n \+ 2"):
        nets.resnet(depth)


@pytest.mark.parametrize("width", [0, -1, float("nan"), float("inf")])
def test_widths_that_are_no_factor(width: float):
    with pytest.raises(PrunekitError, match=r"width .* is not a factor.*take one above 0"):
        nets.vgg16(width)


def test_unknown_shortcut():
    with pytest.raises(PrunekitError, match=r"'conv' is unknown; take 'pad' or 'projection'"):
        nets.resnet20("conv")


def test_unknown_network_names_the_nearest():
    with pytest.raises(PrunekitError, match=r"'resnet65'.*Did you mean 'resnet56'"):
        nets.build("resnet65")
