"""How cost grows: tracing with depth, and a sweep's time with its multiply-adds.

ResNets of 20 to 1202 layers are traced. Sweeps are of narrow and wide, shallow and deep networks; their multiply-adds
are counted on the graph: each layer once, and what lies behind the first reader of each layer's maps once per rate.
"""

import statistics
import time

import torch
from common import CIFAR_IMAGE, done, in_turns, options, record, sweep_macs

import prunekit as pk
from prunekit import nets
from prunekit.sensitivity import RATES

DEPTHS = (20, 32, 56, 110, 218, 434, 866, 1202)
SWEEPS = (("vgg16", 0.25), ("vgg16", 0.5), ("vgg16", 1.0), ("resnet20", 1.0), ("resnet56", 1.0), ("resnet56", 2.0))


def main() -> None:
    chosen = options(__doc__ or "", repeats=5, images=64)
    for depth in DEPTHS[:2] if chosen.tiny else DEPTHS:
        if done(chosen, "tracing", depth=depth):
            continue
        model = nets.resnet(depth, width=0.125 if chosen.tiny else 1.0).eval()
        pk.trace(model, CIFAR_IMAGE)
        times = in_turns(1 if chosen.tiny else chosen.repeats, ours=lambda: pk.trace(model, CIFAR_IMAGE))["ours"]  # noqa: B023
        row = {
            "depth": depth,
            "seconds": statistics.median(times),
            "range": max(times) - min(times),
            "runs": len(times),
        }
        record(chosen, "tracing", [row | {"per_layer": row["seconds"] / depth}], ["depth"])
    for name, width in SWEEPS[:1] if chosen.tiny else SWEEPS:
        if done(chosen, "sweep-growth", case=name, width=float(width)):
            continue
        torch.manual_seed(0)
        model = nets.build(name, width=0.125 if chosen.tiny else width).eval()
        total = 8 if chosen.tiny else chosen.images
        layers = pk.trace(model, CIFAR_IMAGE).free()[:: 1 if name == "vgg16" else 3]
        rates = RATES[4:6] if chosen.tiny else RATES
        batch = (torch.randn(total, 3, 32, 32), torch.zeros(total, dtype=torch.long))
        started = time.perf_counter()
        pk.sweep(model, [batch], CIFAR_IMAGE, rates, layers=layers)
        seconds = time.perf_counter() - started
        macs = sweep_macs(model, layers, len(rates)) * total
        row = {
            "case": name,
            "width": width,
            "seconds": seconds,
            "macs": macs,
            "per_second": macs / seconds,
            "images": total,
        }
        record(chosen, "sweep-growth", [row], ["case", "width"])


if __name__ == "__main__":
    main()
