"""Find what goes with each filter, and cut: `pk.trace` and `pk.prune` against Torch-Pruning.

Torch-Pruning is not among this project's packages; `make bench-env` puts it into `_build/torch-pruning`. It is used in
two ways. "groups": a copy of the network, its dependency graph, and the group of each layer with the filters given.
"pruner": the l1 pruner of its introduction, which also chooses the filters. Both sides start from the same network in
memory and end with a smaller copy that computes the same. `prunekit` runs that copy beside the masked network before it
returns, the others do not.

The "floor" is what torch alone takes for what `pk.trace` and `pk.prune` cannot do without: torch.fx writes the
operations down, the smaller network is copied, and both networks run once, since the result is checked.
"""

import copy
import statistics
import sys
from collections.abc import Mapping
from functools import partial

import torch
from common import CIFAR_IMAGE, ROOT, compared, done, in_turns, network, options, record
from torch import Tensor, fx, nn

import prunekit as pk
from prunekit._torchvision import torchvision
from prunekit.paper.configurations import CONFIGURATIONS

sys.path.append(str(ROOT / "_build" / "torch-pruning"))
PAPER = ("vgg16-a", "resnet56-a", "resnet56-b", "resnet110-b")


def ours(model: nn.Module, example: Tensor, rates: Mapping[str, float]) -> nn.Module:
    return pk.prune(model, pk.plan(pk.trace(model, example), rates))


def ours_given(model: nn.Module, example: Tensor, gone: Mapping[str, list[int]]) -> nn.Module:
    return pk.prune(model, pk.plan_by_hand(pk.trace(model, example), gone))


def groups(model: nn.Module, example: Tensor, gone: Mapping[str, list[int]]) -> nn.Module:
    import torch_pruning as tp  # type: ignore[import-not-found]

    small = copy.deepcopy(model)
    graph = tp.DependencyGraph().build_dependency(small, example_inputs=example)
    for layer, indices in gone.items():
        graph.get_pruning_group(small.get_submodule(layer), tp.prune_conv_out_channels, idxs=indices).prune()
    return small


def pruner(model: nn.Module, example: Tensor, rates: Mapping[str, float]) -> nn.Module:
    import torch_pruning as tp  # type: ignore[import-not-found]

    small = copy.deepcopy(model)
    last = [module for module in small.modules() if isinstance(module, nn.Linear)][-1]
    tp.pruner.MagnitudePruner(
        small,
        example,
        importance=tp.importance.GroupMagnitudeImportance(p=1, group_reduction="first", normalizer=None),
        pruning_ratio=0,
        pruning_ratio_dict={small.get_submodule(layer): rate for layer, rate in rates.items()},
        ignored_layers=[last],
    ).step()
    return small


def floor(model: nn.Module, small: nn.Module, example: Tensor) -> None:
    """What is left of the work if finding, cutting and comparing took no time."""
    fx.Tracer().trace(model)
    copy.deepcopy(small)
    with torch.no_grad():
        model(example)
        small(example)


def same(a: nn.Module, b: nn.Module, example: Tensor) -> bool:
    """Whether two networks have layers of the same sizes, and the same answer to noise."""
    shapes = [{name: tensor.shape for name, tensor in net.state_dict().items()} for net in (a, b)]
    x = torch.randn(2, *example.shape[1:], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first, second = a(x), b(x)
    return shapes[0] == shapes[1] and bool((first - second).abs().max() <= 1e-4 * first.abs().max())


def cases(tiny: bool) -> dict[str, tuple[nn.Module, Tensor, dict[str, float], float]]:
    """By name: a network, an image, rates by layer, and how many times faster was wanted."""
    found = {}
    for name in PAPER[:1] if tiny else PAPER:
        model, _ = network(CONFIGURATIONS[name].network, tiny)
        found[name] = (model, CIFAR_IMAGE, CONFIGURATIONS[name].rates(model), 3.0)
    for name in () if tiny else ("densenet121", "vgg16"):
        torch.manual_seed(0)
        model = torchvision.models.get_model(name, weights=None).eval()
        example = torch.zeros(1, 3, 224, 224)
        found[f"torchvision-{name}"] = (model, example, dict.fromkeys(pk.trace(model, example).free(), 0.5), 20.0)
    return found


def main() -> None:
    chosen = options(__doc__ or "", repeats=5)
    for case, (model, example, rates, wanted) in cases(chosen.tiny).items():
        plan = pk.plan(pk.trace(model, example), rates)
        gone = {layer: sorted(set(range(plan.filters[layer])) - set(kept)) for layer, kept in plan.kept.items()}
        gone = {layer: indices for layer, indices in gone.items() if indices}
        small = pk.prune(model, plan)
        for against, mine, other in (
            ("groups", lambda: ours_given(model, example, gone), lambda: groups(model, example, gone)),  # noqa: B023
            ("pruner", lambda: ours(model, example, rates), lambda: pruner(model, example, rates)),  # noqa: B023
        ):
            if done(chosen, "pruning", case=case, against=against):
                continue
            agreed = same(mine(), small, example) and same(other(), small, example)  # also warms both up
            least = partial(floor, model, small, example)
            times = in_turns(chosen.repeats, ours=mine, theirs=other, floor=least)
            bound = statistics.median(times.pop("floor"))
            row = {"case": case, "against": against, **compared(**times, wanted=wanted), "agreed": agreed}
            row |= {"floor": bound, "at_most": row["theirs"] / bound}
            record(chosen, "pruning", [row], ["case", "against"])


if __name__ == "__main__":
    main()
