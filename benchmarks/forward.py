"""Forward time saved by a pruned network, against the share of multiply-adds saved, in eval mode.

Each network in the layout and number format that is fastest for it, of float32 and bfloat16, usual and channels_last.
"Friendly" widths are the paper's, rounded up to a multiple of 8 or 16, as far as the layer has as many.
"""

import copy
import statistics
from collections.abc import Mapping

import torch
from common import CIFAR_IMAGE, done, in_turns, network, options, record, yes
from torch import nn

import prunekit as pk
from prunekit.costs import total
from prunekit.paper.configurations import CONFIGURATIONS
from prunekit.train import Compute

FORMS = {
    f"{str(dtype).removeprefix('torch.')}{' channels_last' if last else ''}": Compute(dtype=dtype, channels_last=last)
    for dtype in (torch.float32, torch.bfloat16)
    for last in (False, True)
}
CASES = (  # configuration, multiple of which widths are kept, share of the saving that was wanted
    ("vgg16-a", 1, 0.9),
    ("resnet56-b", 1, 0.0),
    ("resnet56-b", 8, 0.8),
    ("resnet56-b", 16, 0.8),
    ("resnet110-b", 1, 0.0),
    ("resnet110-b", 8, 0.8),
    ("resnet110-b", 16, 0.8),
)


def keep(model: nn.Module, rates: Mapping[str, float], multiple: int) -> dict[str, int]:
    """How many filters stay in each layer, rounded up to the multiple."""
    graph = pk.trace(model, CIFAR_IMAGE)
    plan = pk.plan(graph, rates)
    return {name: min(plan.filters[name], -(-len(kept) // multiple) * multiple) for name, kept in plan.kept.items()}


def main() -> None:
    chosen = options(__doc__ or "", batch=64, repeats=15)
    batch, repeats = (2, 1) if chosen.tiny else (chosen.batch, chosen.repeats)
    x = torch.randn(batch, 3, 32, 32)
    for name, multiple, wanted in CASES[:2] if chosen.tiny else CASES:
        if done(chosen, "forward", case=name, multiple=multiple):
            continue
        model, _ = network(CONFIGURATIONS[name].network, chosen.tiny)
        counts = keep(model, CONFIGURATIONS[name].rates(model), multiple)
        small = pk.prune(model, pk.plan(pk.trace(model, CIFAR_IMAGE), keep=counts))
        runs = {}
        for form, compute in FORMS.items():
            for side, net in (("full", model), ("small", small)):
                runs[f"{side} {form}"] = forward(copy.deepcopy(net), compute, x)
        for run in runs.values():
            run()
        times = in_turns(repeats, **runs)
        best = {
            side: min((statistics.median(times[f"{side} {form}"]), form) for form in FORMS)
            for side in ("full", "small")
        }
        macs = [total(net, CIFAR_IMAGE).macs for net in (model, small)]
        saved = {"time_saved": 1 - best["small"][0] / best["full"][0], "macs_saved": 1 - macs[1] / macs[0]}
        share = saved["time_saved"] / saved["macs_saved"] if saved["macs_saved"] else 0.0
        row = {
            "case": name,
            "multiple": multiple,
            "full": best["full"][0],
            "small": best["small"][0],
            "full_form": best["full"][1],
            "small_form": best["small"][1],
            **saved,
            "share": share,
            "wanted": wanted,
            "reached": yes(share >= wanted),
            "batch": batch,
            "runs": repeats,
        }
        record(chosen, "forward", [row], ["case", "multiple"])


def forward(net: nn.Module, compute: Compute, x: torch.Tensor):
    """A forward pass, ready to be timed."""
    net, images = compute.place(net.eval()), compute.batch(x)

    def run() -> None:
        with torch.inference_mode(), compute.autocast():
            net(images)

    return run


if __name__ == "__main__":
    main()
