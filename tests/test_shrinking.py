"""Networks whose filters are zero come out smaller and compute the same; what cannot go exactly stays."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from odd_nets import ALL, DRAWN, LAYERS, Attended, Shared, Tied, Viewed, agree, conv, depthwise, logits, made, randomize
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

import prunekit as pk
from prunekit.errors import SurgeryError, TraceError
from prunekit.shrinking import plan_zeros, shrink, shrinkable

X = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def convs(model: nn.Module) -> dict[str, Any]:
    """The layers whose filters the tests set to zero; the head's are the classes."""
    return {name: m for name, m in model.named_modules() if isinstance(m, LAYERS[:3]) and not depthwise(m)}


def masked(name: str, seed: int = 0) -> tuple[Any, list[Tensor]]:
    """The network of that name as torch.nn.utils.prune leaves it: filters by norm, twice, and then inputs at random."""
    model, inputs = made(name, seed)
    torch.manual_seed(seed)
    for module in convs(model).values():
        if len(module.weight) > 3:
            torch_prune.ln_structured(module, "weight", 0.3, n=1, dim=0)
            torch_prune.ln_structured(module, "weight", 0.2, n=2, dim=0)
            torch_prune.random_structured(module, "weight", 0.2, dim=1)
    return model, inputs


def zeroed(name: str, seed: int) -> tuple[Any, list[Tensor]]:
    """The network of that name with zeros by hand: filters, inputs, biases and BN's scales, at random."""
    model, inputs = made(name, seed)
    draw = random.Random(seed)
    for module in model.modules():
        if isinstance(module, (*LAYERS, nn.modules.batchnorm._BatchNorm)):
            share = draw.random()
            for parameter in filter(lambda p: p is not None, (module.weight, module.bias)):
                for index in range(len(parameter)):
                    if draw.random() < share / 2:
                        parameter.data[index] = 0
                for index in range(parameter.shape[1] if parameter.dim() > 1 else 0):
                    if draw.random() < share / 4:
                        parameter.data[:, index] = 0
    return model, inputs


def filters(model: nn.Module) -> dict[str, int]:
    return {name: len(module.weight) for name, module in convs(model).items()}


# The same function


@pytest.mark.parametrize("name", ALL | DRAWN)
def test_the_shrunk_network_computes_the_same(name: str):
    for make in [masked, partial(zeroed, seed=1)][name == "tied" :]:  # masks of two layers with one weight are refused
        model, inputs = make(name)
        small = shrink(model, *inputs)
        with torch.inference_mode():
            assert agree(logits(small(*inputs)), logits(model(*inputs)), 1e-10)
            shifted = [5 * x + 1 for x in inputs]  # other inputs than the library has looked at
            assert agree(logits(small(*shifted)), logits(model(*shifted)), 1e-10)
    before, after = filters(model), filters(small)
    removed = shrinkable(model, *inputs).set_index("layer")["removed"]
    assert all(before[n] - after[n] == removed[n] for n in before if n in removed)


@pytest.mark.parametrize("name", ["vgg16", "resnet20 pad", "resnet20 projection"])
def test_the_papers_networks_lose_all_but_one_zero_filter_of_a_free_layer(name: str):
    """One may have to stay, to stand for the constants of all others within the zero padding."""
    model, (x,) = made(name)
    for module in convs(model).values():
        torch_prune.ln_structured(module, "weight", 0.4, n=1, dim=0)
    table = shrinkable(model, x).set_index("layer")
    free = table.loc[pk.trace(shrink(model, x), x).free()]
    assert (free["removed"] >= free["zero"] - 1).all()
    assert free["zero"].sum() > 10
    assert (free["reason"].str.contains("unevenly") == (free["removed"] < free["zero"])).all()


def test_torchvisions_mobilenet():
    from prunekit._torchvision import torchvision

    torch.manual_seed(0)
    model = randomize(torchvision.models.mobilenet_v3_small(num_classes=10).double().eval())
    for module in convs(model).values():
        torch_prune.ln_structured(module, "weight", 0.3, n=2, dim=0)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    small = shrink(model, x)
    with torch.inference_mode():
        assert agree(small(x), model(x), 1e-10)
    assert sum(filters(small).values()) < sum(filters(model).values())


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_other_number_formats(dtype: torch.dtype, tolerance: float):
    model, (x,) = masked("vgg16")
    model, x = model.to(dtype), x.to(dtype)
    small = shrink(model, x)
    assert {p.dtype for p in small.parameters()} == {dtype}
    with torch.inference_mode():
        assert agree(small(x), model(x), tolerance)


# What goes, and where its constant goes


class Pair(nn.Module):
    """Two convs, with what is asked for between and behind them."""

    def __init__(self, between: nn.Module, second: nn.Module, behind: nn.Module):
        super().__init__()
        self.a, self.between, self.b, self.behind = conv(3, 5), between, second, behind
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.behind(self.b(self.between(self.a(x))))).mean((2, 3)))


def pair(second: nn.Module, between: nn.Module | None = None, behind: nn.Module | None = None, zero: int = 2) -> Any:
    torch.manual_seed(0)
    model = randomize(Pair(between or nn.BatchNorm2d(5), second, behind or nn.Identity()).double().eval())
    model.a.weight.data[:zero] = 0
    return model


@pytest.mark.parametrize(
    "second",
    [
        conv(5, 4, 1),
        nn.Conv2d(5, 4, 3),
        conv(5, 4, padding_mode="circular"),
        conv(5, 4, padding_mode="replicate"),
        conv(5, 4, padding_mode="reflect"),
    ],
    ids=["1x1", "no padding", "circular", "replicate", "reflect"],
)
def test_constants_go_into_the_bias(second: nn.Conv2d):
    model = pair(second)
    small = shrink(model, X)
    assert small.a.out_channels == 3
    assert agree(small(X), model(X), 1e-10)
    assert not agree(small.b.bias, model.b.bias, 1e-3)


def test_constants_go_into_the_running_mean():
    model = pair(conv(5, 4, 1, bias=False), behind=nn.BatchNorm2d(4))
    small = shrink(model, X)
    assert (small.a.out_channels, small.b.bias) == (3, None)
    assert agree(small(X), model(X), 1e-10)
    assert not agree(small.behind.running_mean, model.behind.running_mean, 1e-3)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("behind", [nn.Identity(), nn.BatchNorm2d(4, track_running_stats=False)], ids=["none", "batch"])
def test_a_bias_is_made_where_there_is_nothing_else(frozen: bool, behind: nn.Module):
    model = pair(conv(5, 4, 1, bias=False)) if isinstance(behind, nn.Identity) else None
    if model is None:
        model = Pair(nn.BatchNorm2d(5), conv(5, 4, 1, bias=False), behind).double().eval()
        model.a.weight.data[:2] = 0
    model.b.weight.requires_grad_(not frozen)
    small = shrink(model, X)
    assert small.a.out_channels == 3
    assert small.b.bias.requires_grad != frozen
    assert agree(small(X), model(X), 1e-10)


def test_a_norm_that_others_use_too_keeps_its_mean():
    class Forked(Pair):
        def forward(self, x: Tensor) -> Tensor:
            y = self.b(self.between(self.a(x)))
            return self.fc((self.behind(y) + y).mean((2, 3)))

    torch.manual_seed(0)
    model = randomize(Forked(nn.BatchNorm2d(5), conv(5, 4, 1, bias=False), nn.BatchNorm2d(4)).double().eval())
    model.a.weight.data[:2] = 0
    small = shrink(model, X)
    assert small.behind.running_mean.equal(model.behind.running_mean)
    assert small.b.bias is not None
    assert agree(small(X), model(X), 1e-10)


def test_a_norm_of_two_layers_keeps_its_mean():
    class Joined(Pair):
        def __init__(self):
            super().__init__(nn.BatchNorm2d(5), conv(5, 4, 1, bias=False), nn.BatchNorm2d(4))
            self.c = conv(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc((self.behind(self.b(self.between(self.a(x)))) * self.behind(self.c(x))).mean((2, 3)))

    torch.manual_seed(0)
    model = randomize(Joined().double().eval())
    model.a.weight.data[:2] = 0
    small = shrink(model, X)
    assert small.a.out_channels == 3
    assert small.behind.running_mean.equal(model.behind.running_mean)
    assert agree(small(X), model(X), 1e-10)


def test_one_constant_stands_for_the_others_within_zero_padding():
    model = pair(conv(5, 4), zero=3)
    small = shrink(model, X)
    assert small.a.out_channels == 3
    assert agree(small(X), model(X), 1e-10)
    assert not small.a.weight[0].any()  # the one that stayed is zero, too
    table = shrinkable(model, X).set_index("layer")
    reason = "its map is a constant that adds to b unevenly: zero padding makes the border another"
    assert table.loc["a"].tolist() == [5, 3, 2, reason]
    assert table.loc["b"].tolist() == [4, 0, 0, ""]


def test_a_single_constant_within_zero_padding_stays():
    model = pair(conv(5, 4), zero=1)
    assert shrink(model, X).a.out_channels == 5
    assert "adds to b unevenly" in shrinkable(model, X)["reason"][0]


def test_a_zero_that_arrives_goes_in_spite_of_padding():
    model = pair(conv(5, 4), between=nn.Sequential(nn.BatchNorm2d(5), nn.ReLU()))
    model.between[0].bias.data[:2] = -9.0
    small = shrink(model, X)
    assert small.a.out_channels == 3
    assert small.b.bias.equal(model.b.bias)
    assert agree(small(X), model(X), 1e-10)


def test_what_nothing_reads_goes_and_what_only_that_has_read():
    """torch.nn.utils.prune with dim=1: the second conv no longer reads two maps."""
    model = pair(conv(5, 4), zero=0)
    model.b.weight.data[:, 1:3] = 0
    model.a.bias.data[:] = 5
    small = shrink(model, X)
    assert small.a.out_channels == 3
    assert agree(small(X), model(X), 1e-10)
    deep = nn.Sequential(
        conv(3, 6), nn.ReLU(), conv(6, 6), nn.ReLU(), conv(6, 4), nn.Flatten(), nn.Linear(256, 3)
    ).double()
    deep[4].weight.data[:, :2] = 0
    deep[2].weight.data[2:, 3:] = 0  # so these three are read only by filters that go
    small = shrink(deep, X)
    assert (small[0].out_channels, small[2].out_channels) == (3, 4)
    assert agree(small(X), deep(X), 1e-10)


def test_scales_of_bn_that_are_zero():
    """As network slimming leaves them: BN makes a constant of whatever the filter gives."""
    model = pair(conv(5, 4, 1), zero=0)
    model.between.weight.data[1:4] = 0
    table = shrinkable(model, X)
    assert table[["zero", "removed"]].values.tolist()[0] == [0, 3]
    small = shrink(model, X)
    assert small.a.out_channels == 2
    assert agree(small(X), model(X), 1e-10)


def test_a_layer_that_is_all_zero_keeps_a_filter():
    model = pair(conv(5, 4, 1), zero=5)
    small = shrink(model, X)
    assert small.a.out_channels == 1
    assert agree(small(X), model(X), 1e-10)
    assert shrinkable(model, X)["reason"][0] == "of every layer one filter has to stay"


def test_nothing_is_zero():
    model, (x,) = made("vgg16")
    assert shrink(model, x)(x).equal(model(x))
    assert not shrinkable(model, x)[["zero", "removed"]].any(axis=None)
    assert not plan_zeros(model, x).kept


# What must not go


def test_a_filter_that_was_never_active_is_not_zero():
    model = pair(conv(5, 4), between=nn.ReLU(), zero=0)
    model.a.bias.data[:2] = -100.0
    assert not F.relu(model.a(X))[:, :2].any()
    assert shrink(model, X).a.out_channels == 5
    model.a.weight.data[:2] = 0
    assert shrink(model, X).a.out_channels == 3


class Opened(nn.Module):
    """A gate of one map for all, that happens to be shut."""

    def __init__(self):
        super().__init__()
        self.a, self.gate, self.b, self.fc = conv(3, 5), conv(3, 1), conv(5, 4, 1), nn.Linear(4, 3)
        self.a.weight.data[:2] = 0
        self.gate.bias.data[:] = -100

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.b(self.a(x) * F.relu(self.gate(x))).mean((2, 3)))


def test_a_constant_behind_a_gate_is_none():
    model = Opened().double()
    assert shrink(model, X).a.out_channels == 5
    assert "not constant where b reads it" in shrinkable(model, X)["reason"][0]
    model.a.bias.data[:2] = 0  # zero, whatever the gate says
    assert shrink(model, X).a.out_channels == 3


def test_a_factor_that_is_computed_from_the_map():
    """Squeeze-and-excite multiplies each map by a number of its own; the filter alone is no constant then."""
    torch.manual_seed(0)
    model: Any = Attended().double()
    model.a.weight.data[:2] = 0
    assert shrink(model, X).a.out_channels == 6
    model.a.bias.data[0] = 0
    small = shrink(model, X)
    assert (small.a.out_channels, small.excite.out_channels) == (5, 5)
    assert agree(small(X), model(X), 1e-10)


def test_a_conv_that_is_called_twice():
    """Once it reads the first conv's constant, once its own; both have to go in one bias, or in none."""
    torch.manual_seed(0)
    model: Any = Shared().double()
    model.twice = nn.Conv2d(5, 5, 1).double()
    model.a.weight.data[0] = model.twice.weight.data[0] = 0
    model.a.bias.data[0], model.twice.bias.data[0] = 1.0, 2.0
    assert shrink(model, X).a.out_channels == 5
    assert "twice is called several times and reads another constant each time" in shrinkable(model, X)["reason"][0]
    model.a.bias.data[0] = 2.0
    model.b.weight.data[:, 0] = 0
    small = shrink(model, X)
    assert small.a.out_channels == 4
    assert agree(small(X), model(X), 1e-10)


def test_a_bias_of_two_layers():
    class Biased(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.fc = conv(3, 5), conv(5, 4, 1), conv(3, 4, 1), nn.Linear(4, 3)
            self.c.bias = self.b.bias
            self.a.weight.data[0] = 0

        def forward(self, x: Tensor) -> Tensor:
            return self.fc((self.b(self.a(x)) + self.c(x)).mean((2, 3)))

    model = Biased().double()
    assert shrink(model, X).a.out_channels == 5
    assert (
        "b reads it as a nonzero constant and shares its bias with another layer" in shrinkable(model, X)["reason"][0]
    )


def test_readers_that_eval_mode_does_not_call():
    """A head that is there in training only, and a weight that a function uses too: what arrives there is not seen."""
    model, (x,) = made("auxiliary")
    model.a.weight.data[:2] = 0
    assert shrinkable(model, x)["reason"][0].startswith(
        "aux.weight reads it, and not as the weight of a module in eval"
    )
    model.aux.weight.data[:, :2] = 0
    model.a.bias.data[:2] = -1.0
    small = shrink(model, x)
    assert (small.a.out_channels, small.aux.in_features) == (4, 4)
    assert agree(logits(small(x)), logits(model(x)), 1e-10)

    class Twice(Viewed):
        def forward(self, x: Tensor) -> Tensor:
            x = F.avg_pool2d(torch.relu(self.bn(self.a(x))), 4).flatten(1)
            return self.fc(x) + F.linear(x, self.fc.weight)

    model = randomize(Twice().double().eval())
    model.a.weight.data[:2] = 0
    assert shrinkable(model, X)["reason"][0].startswith("fc.weight reads it, and not as the weight of a module in eval")


def test_two_layers_of_one_weight():
    torch.manual_seed(0)
    model: Any = Tied().double()
    model.a.weight.data[:2] = 0
    model.c = nn.Conv2d(10, 4, 1).double()
    small = shrink(model, X)
    assert small.a.weight is small.b.weight
    assert (small.a.out_channels, small.c.in_channels) == (3, 6)
    assert agree(small(X), model(X), 1e-10)


# Train mode


def trained(make: Callable[[], Any]) -> tuple[Tensor, Tensor]:
    """Both networks in train mode on the same batch."""
    model = make().train()
    small = shrink(model, X)
    assert small.training and model.training
    assert small.a.out_channels < model.a.out_channels
    return small(X), model(X)


def test_train_mode_is_the_same_where_no_bn_saw_what_was_read():
    assert agree(*trained(lambda: pair(conv(5, 4, 1), between=nn.ReLU())), 1e-10)
    assert agree(*trained(lambda: pair(conv(5, 4, 1, bias=False), nn.ReLU(), nn.BatchNorm2d(4))), 1e-10)

    def unread() -> nn.Module:
        model = pair(conv(5, 4), zero=0)
        model.b.weight.data[:, :2] = 0
        return model

    assert agree(*trained(unread), 1e-10)


def test_train_mode_is_another_where_bn_saw_it():
    """This is said in `shrink`. BN makes its shift of any constant, and in eval mode what its statistics say."""
    assert not agree(*trained(lambda: pair(conv(5, 4, 1))), 1e-3)


# The model, the plan, the report, the refusals


def test_the_model_keeps_its_masks():
    model, (x,) = masked("vgg16")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    computed = [module.weight for module in convs(model).values()]
    small = shrink(model, x)
    assert all(module.weight is weight for module, weight in zip(convs(model).values(), computed, strict=True))
    for parameter in small.parameters():
        parameter.data.fill_(float("nan"))
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(after[name].equal(tensor) for name, tensor in before.items())
    assert all(torch_prune.is_pruned(module) for module in convs(model).values())
    assert not torch_prune.is_pruned(small)


def test_the_plan_keeps_the_result(tmp_path: Path):
    model, (x,) = masked("vgg16")
    small, plan = shrink(model, x), plan_zeros(model, x)
    assert plan.criterion == "zeros"
    pk.save(small, plan, tmp_path / "a.safetensors")
    again = pk.load(tmp_path / "a.safetensors", partial(pk.nets.vgg16, 1 / 16)).eval()
    assert all(a.equal(b) for a, b in zip(again.state_dict().values(), small.state_dict().values(), strict=True))
    assert again(x).equal(small(x))


def test_a_file_with_a_bias_that_was_made(tmp_path: Path):
    def builder() -> nn.Module:
        return Pair(nn.BatchNorm2d(5), conv(5, 4, 1, bias=False), nn.Identity())

    model = pair(conv(5, 4, 1, bias=False))
    small = shrink(model, X)
    pk.save(small, plan_zeros(model, X), tmp_path / "a.safetensors")
    again: Any = pk.load(tmp_path / "a.safetensors", builder).eval()
    assert again.b.bias.equal(small.b.bias)
    assert again(X).equal(small(X))


def test_the_report():
    model, (x,) = masked("resnet20 pad")
    table = shrinkable(model, x)
    assert isinstance(table, pd.DataFrame)
    assert table.columns.tolist() == ["layer", "filters", "zero", "removed", "reason"]
    assert table["layer"].tolist() == list(pk.trace(made("resnet20 pad")[0], x).layers)
    zero = {name: int((~(m.weight != 0).flatten(1).any(1)).sum()) for name, m in convs(model).items()}
    assert table.set_index("layer")["zero"].drop("fc").to_dict() == zero
    assert (table["zero"] <= table["filters"]).all()


def test_a_head_stays():
    model, (x,) = made("vgg16")
    model.classifier[3].weight.data[:2] = 0
    table = shrinkable(model, x)
    assert table.iloc[-1].tolist() == ["classifier.3", 10, 2, 0, "it reaches the network's output"]


def test_one_weight_and_two_masks():
    model, (x,) = masked("tied")
    with pytest.raises(SurgeryError, match=r"Layers 'a' and 'b' share a weight and mask it differently"):
        shrink(model, x)


def test_refusals():
    class HardView(Viewed):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.avg_pool2d(torch.relu(self.bn(self.a(x))), 4).view(-1, 24))

    model: Any = HardView().double()
    model.a.weight.data[0] = 0
    with pytest.raises(SurgeryError, match=r"test_shrinking.py, line \d+: return self.fc"):
        shrink(model, X)
    with pytest.raises(TraceError, match=r"wrapped in DataParallel: pass what is inside"):
        shrink(nn.DataParallel(Viewed()), X)
    model.kept = model.a.weight * 2  # not a leaf: deepcopy refuses
    with pytest.raises(SurgeryError, match=r"cannot be copied with copy.deepcopy: .*attribute"):
        shrink(model, X)
