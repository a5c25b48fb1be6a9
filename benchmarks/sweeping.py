"""A sensitivity sweep: `pk.sweep` against the loop that copies, prunes and evaluates for each layer and rate.

Nine rates, l1 norms, the first test images. Of the loop only its evaluations are timed: its copies and cuts take the
same time for any number of images, and hardly count with all 10,000. The sweep is timed from beginning to end. The loop
computes in float32 and the usual layout. "shared" is how many times the multiply-adds of the sweep the loop does.
"""

import time
from collections.abc import Sequence

import torch
from common import CIFAR_IMAGE, compared, done, images, network, options, record, sweep_macs
from torch import Tensor, nn

import prunekit as pk
from prunekit.costs import total_of
from prunekit.data import Batches
from prunekit.intervals import difference
from prunekit.sensitivity import RATES
from prunekit.train import Compute

Pairs = Sequence[tuple[Tensor, Tensor]]
BATCH = 128
FLOAT32, BFLOAT16 = torch.float32, torch.bfloat16
WAYS = {  # by name: how the sweep computes, and how many times faster was wanted, by network
    "float32": (Compute(dtype=FLOAT32), {"vgg16": 3.0, "resnet56": 2.2, "resnet110": 2.2}),
    "float32 channels_last": (Compute(dtype=FLOAT32, channels_last=True), {"resnet56": 2.2, "resnet110": 2.2}),
    "bfloat16": (Compute(dtype=BFLOAT16), {"vgg16": 7.0}),
    "bfloat16 channels_last": (Compute(dtype=BFLOAT16, channels_last=True), {"vgg16": 7.0}),
}
EVERY = {"vgg16": 1, "resnet56": 3, "resnet110": 6}  # which of the layers that can be pruned alone


def loop_macs(model: nn.Module, layers: Sequence[str], rates: Sequence[float]) -> int:
    """Multiply-adds of the loop, for one image."""
    graph = pk.trace(model, CIFAR_IMAGE)
    return sum(total_of(graph, pk.plan(graph, {layer: rate})).macs for layer in layers for rate in rates)


def loop(model: nn.Module, batches: Pairs, layers: Sequence[str], rates: Sequence[float]) -> tuple[list[int], float]:
    """Correct answers of each pruned network, in plain PyTorch, and the seconds of the evaluations."""
    graph, correct, seconds = pk.trace(model, CIFAR_IMAGE), [], 0.0
    for layer in layers:
        for rate in rates:
            small = pk.prune(model, pk.plan(graph, {layer: rate})).eval()
            started = time.perf_counter()
            with torch.inference_mode():
                correct.append(sum(int((small(x).argmax(1) == y).sum()) for x, y in batches))
            seconds += time.perf_counter() - started
    return correct, seconds


def main() -> None:
    chosen = options(__doc__ or "", images=256)
    rates = RATES[4:6] if chosen.tiny else RATES
    total = 16 if chosen.tiny else chosen.images
    batches = list(Batches(images(chosen.tiny).test.take(slice(0, total)), BATCH))
    for name, step in EVERY.items():
        if (chosen.tiny and name == "resnet110") or done(chosen, "sweep", case=name):
            continue
        model, weights = network(name, chosen.tiny)
        layers = pk.trace(model, CIFAR_IMAGE).free()[:: step if not chosen.tiny else 9]
        with torch.inference_mode():
            model(batches[0][0])  # warm
        started = time.perf_counter()
        wanted_counts, seconds = loop(model, batches, layers, rates)
        whole = time.perf_counter() - started
        shared = loop_macs(model, layers, rates) / sweep_macs(model, layers, len(rates))
        for way, (compute, wanted) in WAYS.items():
            if name not in wanted and not (name == "vgg16" or compute.dtype == FLOAT32):
                continue
            started = time.perf_counter()
            counts = pk.sweep(model, batches, CIFAR_IMAGE, rates, layers=layers, compute=compute).correct.tolist()
            ours = time.perf_counter() - started
            pairs = list(zip(counts, wanted_counts, strict=True))
            noise = [difference((a, total), (b, total)) for a, b in pairs]
            row = {
                "case": name,
                "way": way,
                "weights": weights,
                **compared([ours], [seconds], wanted.get(name, 0.0)),
                "theirs_with_cuts": whole,
                "shared": shared,
                "images": total,
                "batch": BATCH,
                "layers": len(layers),
                "cuts": len(pairs),
                "different": sum(a != b for a, b in pairs),
                "most": max(abs(a - b) for a, b in pairs),
                "outside_noise": sum(not low <= 0 <= high for low, high in noise),
            }
            record(chosen, "sweep", [row], ["case", "way"])


if __name__ == "__main__":
    main()
