"""Memory of a sweep against the loop: the most that each adds to a process that holds network and images.

Each side runs in a process of its own. Its peak is the high-water mark of the resident set after the work, less the
resident set before it. The loop prunes each layer once, by the smallest rate, which leaves the largest networks.
"""

import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from common import CIFAR_IMAGE, done, images, network, options, record, yes
from sweeping import loop

import prunekit as pk
from prunekit.data import Batches
from prunekit.sensitivity import RATES
from prunekit.train import Compute

WANTED = 1.5


def status(field: str) -> int:
    """Bytes of a field of this process's status."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def peak(side: str, name: str, tiny: bool, total: int, batch: int, threads: int) -> int:
    """Bytes that one side adds at most. Called in a process of its own."""
    torch.set_num_threads(threads)
    model, _ = network(name, tiny)
    batches = list(Batches(images(tiny).test.take(slice(0, total)), batch))
    layers = pk.trace(model, CIFAR_IMAGE).free()[:: 9 if tiny else 1]
    model(batches[0][0][:2])
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = status("VmRSS")
    if side == "loop":
        loop(model, batches, layers, RATES[:1])
    else:
        pk.sweep(model, batches, CIFAR_IMAGE, RATES[4:6] if tiny else RATES, layers=layers, compute=Compute())
    return status("VmHWM") - before


def main() -> None:
    chosen = options(__doc__ or "", images=256, batch=128)
    for name in ("vgg16",) if chosen.tiny else ("vgg16", "resnet56"):
        if done(chosen, "memory", case=name):
            continue
        bytes_of = {}
        for side in ("loop", "sweep"):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                work = process.submit(peak, side, name, chosen.tiny, chosen.images, chosen.batch, chosen.threads)
                bytes_of[side] = work.result()
        ratio = bytes_of["sweep"] / max(1, bytes_of["loop"])
        facts = {"images": chosen.images, "batch": chosen.batch, "wanted": WANTED, "reached": yes(ratio <= WANTED)}
        row = {"case": name, "ours": bytes_of["sweep"], "theirs": bytes_of["loop"], "ratio": ratio, **facts}
        record(chosen, "memory", [row], ["case"])


if __name__ == "__main__":
    main()
