"""An optimizer that follows a cut goes on as if the network had been masked; so does an average of the weights."""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from odd_nets import agree, made
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.optim import Optimizer, lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import prunekit as pk
from prunekit.errors import PlanError
from prunekit.following import follow, follow_average

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "SGD": partial(optim.SGD, lr=0.05),
    "momentum": partial(optim.SGD, lr=0.05, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "nesterov": partial(optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01, foreach=True),
    "Adam": partial(optim.Adam, lr=0.01, weight_decay=0.01),
    "AMSGrad": partial(optim.Adam, lr=torch.tensor(0.01), betas=(0.8, 0.99), amsgrad=True, foreach=False),
    "AdamW": partial(optim.AdamW, lr=0.01, weight_decay=0.1),
    "RMSprop": partial(optim.RMSprop, lr=0.01, momentum=0.5, centered=True),
    "Adagrad": partial(optim.Adagrad, lr=0.01, lr_decay=0.1),
}
RATES = {"depthwise": {"a": 0.5, "b": 0.4, "c": 0.5}, "tied": {"a": 0.4, "c": 0.5}, "signal": {"a": 0.4, "b": 0.5}}
# Biases right before BN are frozen: their gradient is zero but for rounding, which Adam and its like blow up to a step.
FROZEN = {"vgg16": ("classifier.0",), "depthwise": ("dw", "dw2"), "signal": ("a",)}


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Weights and all else apart, as is usual, with options of their own."""
    weights = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() == 1]
    return [{"params": weights}, {"params": rest, "lr": 0.003, "weight_decay": 0.0}]


def step(model: nn.Module, optimizer: Optimizer, x: Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(x), torch.arange(len(x)) % 3).backward()
    optimizer.step()


def trained(name: str, how: str = "momentum", steps: int = 3) -> tuple[Any, Optimizer, pk.Plan, Tensor]:
    """A network in the middle of its training: network, optimizer, a plan for it, a batch."""
    model, (x,) = made(name)
    x = torch.cat([x, x.flip(0) + 1, x * 2])
    for layer in FROZEN.get(name, ()):
        model.get_submodule(layer).bias.requires_grad_(False)
    optimizer = OPTIMIZERS[how](groups(model.train()))
    for _ in range(steps):
        step(model, optimizer, x)
    return model, optimizer, pk.plan(pk.trace(model, x), RATES.get(name, 0.5)), x


def distance(model: nn.Module, wanted: nn.Module) -> float:
    """The largest difference of two networks' tensors, of the largest entry of each."""
    pairs = zip(model.state_dict().values(), wanted.state_dict().values(), strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-300)) for a, b in pairs)


# The contract


SMALL = [(name, how) for name in ("depthwise", "tied", "signal") for how in OPTIMIZERS]
LARGE = [("vgg16", "nesterov"), ("resnet20 projection", "AdamW")]


@pytest.mark.parametrize("name, how", SMALL + LARGE)
def test_a_step_is_the_step_of_the_masked_network(name: str, how: str):
    model, optimizer, plan, x = trained(name, how)
    small = pk.prune(model, plan)
    followed = follow(optimizer, model, small, plan)
    masked = pk.mask(model, plan)
    reference = OPTIMIZERS[how](groups(masked))
    reference.load_state_dict(optimizer.state_dict())  # by position: without the library
    for _ in range(3):
        step(small, followed, x)
        step(masked, reference, x)
        assert distance(small, pk.prune(masked, plan)) < 1e-10
        for parameter, with_zeros in zip(masked.parameters(), pk.mask(masked, plan).parameters(), strict=True):
            parameter.data.copy_(with_zeros)


def test_without_its_state_it_would_be_another_step():
    for how in ("nesterov", "AdamW"):
        model, optimizer, plan, x = trained("depthwise", how)
        small, other = pk.prune(model, plan), pk.prune(model, plan)
        step(small, follow(optimizer, model, small, plan), x)
        step(other, OPTIMIZERS[how](groups(other)), x)
        assert distance(small, other) > 1e-4


def test_several_steps_need_the_mask_after_each():
    """The masked weights get gradients: this is said in `follow`."""
    model, optimizer, plan, x = trained("depthwise")
    small, masked = pk.prune(model, plan), pk.mask(model, plan)
    pairs = [(net, follow(optimizer, model, net, p)) for net, p in ((small, plan), (masked, unchanged(model, x)))]
    for net, follower in pairs:
        step(net, follower, x)
        step(net, follower, x)
    assert distance(small, pk.prune(masked, plan)) > 1e-6


def unchanged(model: nn.Module, x: Tensor) -> pk.Plan:
    """A plan that removes nothing."""
    return pk.plan_by_hand(pk.trace(model, x), {})


# What the new optimizer is


def test_groups_and_options_are_kept():
    model, optimizer, plan, _ = trained("depthwise", "AdamW")
    optimizer.param_groups[0]["note"] = "kept"
    small = pk.prune(model, plan)
    followed = follow(optimizer, model, small, plan)
    assert type(followed) is optim.AdamW
    assert followed.defaults == optimizer.defaults
    for new, old in zip(followed.param_groups, optimizer.param_groups, strict=True):
        assert {k: v for k, v in new.items() if k != "params"} == {k: v for k, v in old.items() if k != "params"}
    ids = [id(p) for group in groups(small) for p in group["params"]]
    assert [id(p) for group in followed.param_groups for p in group["params"]] == ids
    assert followed.param_groups is not optimizer.param_groups


def test_state_is_cut_as_its_parameter_was():
    model, optimizer, plan, _ = trained("depthwise", "Adam")
    small = pk.prune(model, plan)
    followed = follow(optimizer, model, small, plan)
    keep = torch.tensor(plan.kept["a"])
    assert len(keep) == 2
    old, new = optimizer.state[model.a.weight], followed.state[small.a.weight]
    assert new["exp_avg"].equal(old["exp_avg"][keep])
    assert new["step"].equal(old["step"]) and new["step"] is not old["step"]
    both = optimizer.state[model.b.weight]["exp_avg_sq"][torch.tensor(plan.kept["b"])][:, keep]
    assert followed.state[small.b.weight]["exp_avg_sq"].equal(both)
    assert followed.state[small.fc.bias]["exp_avg"].equal(optimizer.state[model.fc.bias]["exp_avg"])
    assert not followed.state.get(small.dw.bias) and not small.dw.bias.requires_grad  # frozen


def test_the_old_optimizer_stays_as_it_was():
    model, optimizer, plan, x = trained("depthwise", "Adam")
    before = copy.deepcopy(optimizer.state_dict())
    small = pk.prune(model, plan)
    followed = follow(optimizer, model, small, plan)
    step(small, followed, x)
    after = optimizer.state_dict()
    assert str(after) == str(before)
    step(model, optimizer, x)  # and it still works on its own network


def test_it_can_be_saved_and_loaded():
    model, optimizer, plan, x = trained("depthwise", "Adam")
    small = pk.prune(model, plan)
    followed = follow(optimizer, model, small, plan)
    again = copy.deepcopy(small)
    fresh = OPTIMIZERS["Adam"](groups(again))
    fresh.load_state_dict(copy.deepcopy(followed.state_dict()))
    step(small, followed, x)
    step(again, fresh, x)
    assert distance(again, small) == 0


def test_memory_format_is_kept():
    model, (x,) = made("vgg16", dtype=torch.float32)
    model = model.to(memory_format=torch.channels_last)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step(model, optimizer, x)
    small = pk.prune(model, plan := pk.plan(pk.trace(model, x), 0.5))
    followed = follow(optimizer, model, small, plan)
    for parameter in small.parameters():
        assert followed.state[parameter]["momentum_buffer"].stride() == parameter.stride()


def test_half_the_network_in_the_optimizer():
    model, (x,) = made("depthwise")
    optimizer = optim.SGD([{"params": model.b.parameters(), "lr": 0.1}], lr=0.2, momentum=0.9)
    step(model, optimizer, x)
    small = pk.prune(model, plan := pk.plan(pk.trace(model, x), RATES["depthwise"]))
    followed = follow(optimizer, model, small, plan)
    assert [id(p) for p in followed.param_groups[0]["params"]] == [id(p) for p in small.b.parameters()]


def test_names_of_parameters_come_along():
    model, (x,) = made("depthwise")
    optimizer = optim.SGD(model.named_parameters(), lr=0.2)
    small = pk.prune(model, plan := pk.plan(pk.trace(model, x), RATES["depthwise"]))
    assert follow(optimizer, model, small, plan).param_groups[0]["param_names"] == [
        n for n, _ in model.named_parameters()
    ]


@pytest.mark.parametrize(
    "scheduler",
    [
        partial(lr_scheduler.StepLR, step_size=2),
        partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=10),
        partial(lr_scheduler.CosineAnnealingLR, T_max=10),
    ],
    ids=["steps", "one-cycle", "cosine"],
)
def test_a_scheduler_is_pointed_at_the_new_optimizer(scheduler: Callable[..., Any]):
    def rates(cut: bool) -> Iterable[list[float]]:
        model, (x,) = made("depthwise")
        optimizer: Any = optim.SGD(groups(model), lr=0.1, momentum=0.9)
        schedule = scheduler(optimizer)
        for epoch in range(8):
            if epoch == 4 and cut:
                plan = pk.plan(pk.trace(model, x), RATES["depthwise"])
                small = pk.prune(model, plan)
                model, schedule.optimizer = small, follow(optimizer, model, small, plan)
                optimizer = schedule.optimizer
            step(model, optimizer, x)
            schedule.step()
            yield [group["lr"] for group in optimizer.param_groups]

    assert list(rates(cut=True)) == list(rates(cut=False))


# Averages


@pytest.mark.parametrize("rule", [None, get_ema_multi_avg_fn(0.9)], ids=["mean", "exponential"])
def test_an_average_follows(rule: Any):
    """Averaged, cut and averaged on is averaged on and cut."""
    model, optimizer, plan, x = trained("resnet20 projection")
    average = AveragedModel(model, multi_avg_fn=rule, use_buffers=True)
    for _ in range(2):
        average.update_parameters(model)
        step(model, optimizer, x)
    small = follow_average(average, plan)
    assert type(small) is AveragedModel
    assert small.n_averaged == average.n_averaged == 2
    assert small.n_averaged is not average.n_averaged
    assert agree(small.eval()(x), pk.mask(average.module, plan).eval()(x), 1e-10)
    small.update_parameters(pk.prune(model, plan))
    assert average.n_averaged == 2
    average.update_parameters(model)
    assert distance(small.module, pk.prune(average.module, plan)) < 1e-14


def test_an_average_of_ones_own():
    """Any other copy is cut by the same plan, which chose its filters on the first."""
    model, _, plan, x = trained("vgg16")
    other = copy.deepcopy(model)
    for a, b in zip(other.parameters(), model.parameters(), strict=True):
        a.data.mul_(0.9).add_(0.1 * torch.sign(b.data))
    small = pk.prune(other, plan)
    assert agree(small.eval()(x), pk.mask(other, plan).eval()(x), 1e-10)
    with pytest.raises(PlanError, match=r"takes a torch.optim.swa_utils.AveragedModel, not a VGG16; .*prune\(network"):
        follow_average(other, plan)


# Refused


def test_a_parameter_of_another_model():
    model, optimizer, plan, _ = trained("depthwise")
    other, _ = made("depthwise")
    with pytest.raises(
        PlanError, match=r"Group 0 of the optimizer has a parameter, \(4, 3, 3, 3\), that is not the model"
    ):
        follow(optimizer, other, pk.prune(other, plan), plan)
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(7))]})
    with pytest.raises(PlanError, match=r"Group 2 of the optimizer has a parameter, \(7,\), that is not the model's"):
        follow(optimizer, model, pk.prune(model, plan), plan)


def test_a_network_of_another_plan():
    model, optimizer, plan, _ = trained("depthwise")
    with pytest.raises(PlanError, match=r"'a.weight' becomes \(2, 3, 3, 3\); the small network has it as \(4,"):
        follow(optimizer, model, model, plan)
    with pytest.raises(PlanError, match=r"'a.weight' becomes .*; the small network does not have it"):
        follow(optimizer, model, made("vgg16")[0], plan)
    small = pk.prune(model, plan)
    with pytest.raises(PlanError, match=r"another network: it knows 4 filters in layer 'a', and here there are 2"):
        follow(optim.SGD(small.parameters()), small, small, plan)


def test_state_in_a_shape_of_its_own():
    model, (x,) = made("depthwise")
    optimizer = optim.Adafactor(model.parameters(), lr=0.1)
    step(model, optimizer, x)
    small = pk.prune(model, plan := pk.plan(pk.trace(model, x), RATES["depthwise"]))
    with pytest.raises(PlanError, match=r"State '\w+' of 'a.weight' is of shape .*Start with a fresh optimizer"):
        follow(optimizer, model, small, plan)
    with pytest.raises(PlanError, match=r"LBFGS keeps a history of all parameters as one"):
        follow(optim.LBFGS(model.parameters()), model, small, plan)


class Counting(torch.optim.SGD):
    """Has an attribute of its own, as torch's do not copy it."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.1)
        self.calls = 0

    def step(self, closure=None):
        self.calls += 1
        return super().step(closure)


def test_what_an_optimizer_of_ones_own_keeps_follows_and_hooks_of_a_scheduler_do_not():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    optimizer = Counting(model.parameters())
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.calls = 3
    made = pk.plan(pk.trace(model, torch.randn(1, 3, 8, 8)), {"0": 0.5})
    followed = pk.follow(optimizer, model, pk.prune(model, made), made)
    followed.step()
    assert (followed.calls, optimizer.calls) == (4, 3)


def test_what_is_no_optimizer_is_refused_with_what_to_do():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    made = pk.plan(pk.trace(model, torch.randn(1, 3, 8, 8)), {"0": 0.5})
    optimizer = Counting(model.parameters())
    for other in (optimizer.state_dict(), torch.optim.lr_scheduler.StepLR(optimizer, 1)):
        with pytest.raises(PlanError, match="Load a state_dict into one first; a scheduler goes on"):
            pk.follow(other, model, pk.prune(model, made), made)
