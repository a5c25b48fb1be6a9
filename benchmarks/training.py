"""Training: `pk.train.fit` against torchvision's transforms and a DataLoader, float32, as tutorials write it.

Both train the same network for the same number of steps of 128 images: random crop and flip, SGD with momentum. Our
side once in float32 and once in what the machine likes best. The seconds of an epoch of 45,000 images are those of the
steps measured, times the number of steps in an epoch.
"""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from common import compared, done, images, in_turns, network, options, record
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from prunekit._torchvision import torchvision
from prunekit.data import Split
from prunekit.recipes import PAPER
from prunekit.train import Compute, fastest, fit

BATCH = 128
WANTED = 2.0


class Pictures(Dataset):
    """Images as torchvision.datasets.CIFAR10 hands them out: a PIL image at a time, transformed."""

    def __init__(self, split: Split, transform: Callable):
        self.images = split.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels, self.transform = split.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def tutorial(model: nn.Module, split: Split, workers: int) -> None:
    """One pass over the images as tutorials write it."""
    transforms = torchvision.transforms
    mean, std = ((t / 255).tolist() for t in (split.mean, split.std))
    augment = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    loader = DataLoader(Pictures(split, augment), batch_size=BATCH, shuffle=True, num_workers=workers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)  # type: ignore[possibly-undefined]


def main() -> None:
    chosen = options(__doc__ or "", steps=8, repeats=3, workers=2)
    data = images(chosen.tiny)
    steps = 1 if chosen.tiny else chosen.steps
    few = replace(data, train=data.train.take(slice(0, steps * BATCH)))
    recipe = replace(PAPER.lasting(1), learning_rate=0.01)
    for name in ("vgg16",) if chosen.tiny else ("vgg16", "resnet56"):
        if done(chosen, "training", case=name):
            continue
        model, _ = network(name, chosen.tiny)

        def ours(compute: Compute) -> None:
            fit(copy.deepcopy(model), few, recipe, compute=compute, watch=(), progress=False)  # noqa: B023

        times = in_turns(
            1 if chosen.tiny else chosen.repeats,
            float32=lambda: ours(Compute()),
            fastest=lambda: ours(fastest()),
            theirs=lambda: tutorial(copy.deepcopy(model), few.train, chosen.workers),  # noqa: B023
        )
        for way in ("float32", "fastest"):
            compute = Compute() if way == "float32" else fastest()
            form = f"{compute.dtype} channels_last" if compute.channels_last else str(compute.dtype)
            row = {
                "case": name,
                "way": way,
                "form": form.removeprefix("torch."),
                **compared(times[way], times["theirs"], WANTED),
                "steps": steps,
                "batch": BATCH,
                "epoch_steps": -(-len(data.train) // BATCH),
                "workers": chosen.workers,
            }
            record(chosen, "training", [row], ["case", "way"])


if __name__ == "__main__":
    main()
