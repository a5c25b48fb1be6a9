"""Real images, whole data sets in memory: scikit-learn's digits, CIFAR-10, and ImageNet from a folder.

Images stay 8-bit until a batch is made, so all of CIFAR-10 takes 180 MB, on a CPU or on a GPU. Shuffling and
augmentation happen on whole batches, on the device where the images lie.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import FileError, PrunekitError, nearest

Augmentation = Callable[[Tensor, torch.Generator], Tensor]

AT_ONCE = 8_192  # images that a GPU augments together: with fewer it waits for Python

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_MEAN, CIFAR10_STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)  # of 0..255, as in the paper's base code
CIFAR10_FOLDER = "cifar-10-batches-py"


@dataclass(frozen=True)
class Split:
    """Images and their classes: `images` (N, C, H, W) uint8, `labels` (N,) int64; `mean`, `std` (C,) of 0..255."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Split":
        """The same split on another device."""
        return Split(*(t.to(device) for t in (self.images, self.labels, self.mean, self.std)))

    def take(self, index: Tensor | slice) -> "Split":
        """The images at `index`."""
        return replace(self, images=self.images[index], labels=self.labels[index])


@dataclass(frozen=True)
class Data:
    """A data set in three parts. Choices look at `validation`; figures and tables report `test`."""

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    augmentation: Augmentation

    def to(self, device: torch.device | str) -> "Data":
        """The same data on another device."""
        parts = {part: getattr(self, part).to(device) for part in ("train", "validation", "test")}
        return replace(self, **parts)


class Batches:
    """Normalized float32 batches of a split, as often as it is iterated: pairs of x (n, C, H, W) and y (n,).

    Without `seed` the order is the split's. With one, images are shuffled and augmented, the same way each time:
    an epoch is repeated exactly by repeating its seed.
    """

    def __init__(
        self, split: Split, size: int = 500, seed: int | None = None, augmentation: Augmentation | None = None
    ):
        if size < 1:
            raise PrunekitError(f"Batches: size {size} is not a number of images; take 1 or more.")
        self.split, self.size, self.seed, self.augmentation = split, size, seed, augmentation

    def __len__(self) -> int:
        return -(-len(self.split) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        split, device, augmentation = self.split, self.split.images.device, self.augmentation
        mean, std = (t.view(1, -1, 1, 1) for t in (split.mean, split.std))
        generator = torch.Generator(device).manual_seed(self.seed or 0)
        shuffled = self.seed is not None
        order = torch.randperm(len(split), generator=generator, device=device) if shuffled else None
        several = self.size * max(1, AT_ONCE // self.size) if device.type == "cuda" else self.size
        for start in range(0, len(split), several):
            index = slice(start, start + several) if order is None else order[start : start + several]
            images = split.images[index]
            if augmentation is not None:
                images = augmentation(images, generator)
            x = images.float().sub_(mean).div_(std)
            yield from zip(x.split(self.size), split.labels[index].split(self.size), strict=True)


def crop(images: Tensor, generator: torch.Generator, pad: int = 4) -> Tensor:
    """Shift each image by up to `pad` pixels each way: pad with black, then crop at random to the old size."""
    n, _, h, w = images.shape
    windows = F.pad(images, (pad,) * 4).unfold(2, h, 1).unfold(3, w, 1)  # (n, C, 2 pad + 1, 2 pad + 1, h, w), a view
    y, x = torch.randint(2 * pad + 1, (2, n), generator=generator, device=images.device)
    return windows[torch.arange(n, device=images.device), :, y, x]


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """`crop`, then mirror each image left to right with probability one half."""
    images = crop(images, generator)
    flipped = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)


def load(name: str, root: str | Path | None = None) -> Data:
    """The data set called "digits" or "cifar10". `root` says where CIFAR-10 lies or may be downloaded to."""
    if name == "digits":
        return digits()
    if name == "cifar10":
        return cifar10(root)
    known = ("digits", "cifar10")
    raise PrunekitError(f"Unknown data set {name!r}; the known ones are {', '.join(known)}.{nearest(name, known)}")


def digits() -> Data:
    """scikit-learn's 1,797 handwritten digits, resized to 32x32 and repeated on three channels; no download.

    Of each class the last 50 images are the test set and the 20 before them validation: writers come one after the
    other in this set, so the test images are by other hands than the training images. No mirroring: a mirrored digit
    is no digit.
    """
    from sklearn.datasets import load_digits  # takes a second; only this data set needs it

    bunch: Any = load_digits()
    small = torch.from_numpy(bunch.images).float()[:, None] * (255 / 16)  # (N, 1, 8, 8), ink from 0 to 16
    images = F.interpolate(small, size=32, mode="bilinear", align_corners=False).round().to(torch.uint8)
    images, labels = images.repeat(1, 3, 1, 1), torch.from_numpy(bunch.target).long()
    rest, test = last_of_each_class(labels, 50)
    held_in, held_out = last_of_each_class(labels[rest], 20)
    train, validation = rest[held_in], rest[held_out]
    pixels = images[train].float()
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    parts = [Split(images[i], labels[i], mean, std) for i in (train, validation, test)]
    return Data("digits", *parts, classes=tuple("0123456789"), augmentation=crop)


def cifar10(root: str | Path | None = None) -> Data:
    """CIFAR-10 (Krizhevsky 2009): 45,000 training, 5,000 validation, 10,000 test images, 32x32, three channels.

    Read from the folder `root`, else from the one that the variable PRUNEKIT_DATA names, else from prunekit's cache;
    where nothing lies yet, torchvision downloads it. Every file's MD5 is checked. Validation is the last 500 training
    images of each class.

    Raises `FileError` for a folder that is incomplete or damaged, and where a download fails.
    """
    folder = cifar10_root(root)
    train_files, test_file = read_cifar10(folder)
    mean, std = torch.tensor(CIFAR10_MEAN), torch.tensor(CIFAR10_STD)
    train, validation = last_of_each_class(train_files[1], 500)
    parts = [Split(images[i], labels[i], mean, std) for (images, labels), i in
             [(train_files, train), (train_files, validation), (test_file, slice(None))]]  # fmt: skip
    return Data("cifar10", *parts, classes=CIFAR10_CLASSES, augmentation=crop_and_flip)


def cifar10_root(root: str | Path | None = None) -> Path:
    """The folder that holds, or will hold, CIFAR-10's own folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "prunekit"
    return Path(root or os.environ.get("PRUNEKIT_DATA") or cache)


def read_cifar10(root: Path) -> list[tuple[Tensor, Tensor]]:
    """Training and test images (N, 3, 32, 32) uint8 with labels (N,) int64; downloaded if nothing is in `root`."""
    from ._torchvision import torchvision

    dataset = torchvision.datasets.CIFAR10
    folder = root / CIFAR10_FOLDER
    if folder.is_dir():
        published = [*dataset.train_list, *dataset.test_list, [dataset.meta["filename"], dataset.meta["md5"]]]
        for name, md5 in published:
            state = "is missing" if not (folder / name).is_file() else "is damaged (its MD5 is not the published one)"
            if not torchvision.datasets.utils.check_integrity(str(folder / name), md5):
                raise FileError(
                    f"CIFAR-10: {folder / name} {state}. Remove the folder {folder} to have it downloaded again, or "
                    "set PRUNEKIT_DATA to a folder that holds a whole copy."
                )
    try:
        parts = [dataset(str(root), train=train, download=not folder.is_dir()) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise FileError(
            f"CIFAR-10 is not in {root} and could not be downloaded there ({error}). Put the folder {CIFAR10_FOLDER} "
            "somewhere and set PRUNEKIT_DATA to the folder that holds it."
        ) from error
    return [(torch.from_numpy(p.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(p.targets)) for p in parts]


def imagenet(root: str | Path, batch_size: int = 128, size: int = 224, workers: int = 4):
    """ImageNet's `train` and `val` folders below `root`, one folder per class, as two DataLoaders of (x, y) pairs.

    x is (n, 3, size, size), normalized; training images are cropped at random and mirrored, the others resized and
    cropped in the middle. ImageNet cannot be downloaded freely: get it from image-net.org.

    Raises `FileError` if a folder is missing or holds no images.
    """
    from torch.utils.data import DataLoader

    from ._torchvision import torchvision

    transforms = torchvision.transforms
    normalize = [transforms.ToTensor(), transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    cropping = {
        "train": [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()],
        "val": [transforms.Resize(size * 256 // 224), transforms.CenterCrop(size)],
    }
    loaders = []
    for part, steps in cropping.items():
        folder = Path(root) / part
        try:
            images = torchvision.datasets.ImageFolder(str(folder), transforms.Compose([*steps, *normalize]))
        except (FileNotFoundError, OSError) as error:
            raise FileError(
                f"ImageNet: {folder} is not a folder of one folder of images per class ({error})."
            ) from error
        loaders.append(DataLoader(images, batch_size, shuffle=part == "train", num_workers=workers))
    return tuple(loaders)


def last_of_each_class(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Positions of all but the last `count` labels of each class, and of those: a split without random numbers."""
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        held[(labels == label).nonzero()[-count:, 0]] = True
    return (~held).nonzero()[:, 0], held.nonzero()[:, 0]
