"""Splits are disjoint and stratified, batches repeatable, damaged files refused."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from prunekit import data
from prunekit.data import Batches, Split
from prunekit.errors import FileError, PrunekitError

CIFAR10 = os.environ.get("PRUNEKIT_DATA")
needs_cifar10 = pytest.mark.skipif(not CIFAR10, reason="PRUNEKIT_DATA does not name a folder with CIFAR-10")


def counting(n: int = 23, channels: int = 3) -> Split:
    """Image i is full of i, and so is its label."""
    values = torch.arange(n, dtype=torch.uint8)
    images = values.view(-1, 1, 1, 1).repeat(1, channels, 8, 8)
    return Split(images, values.long(), torch.zeros(channels), torch.ones(channels))


def rows(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


# digits


def test_digits_sizes():
    digits = data.load("digits")
    assert [len(s) for s in (digits.train, digits.validation, digits.test)] == [1097, 200, 500]
    assert digits.train.images.shape == (1097, 3, 32, 32)
    assert digits.train.images.dtype == torch.uint8
    assert digits.train.labels.dtype == torch.int64


def test_digits_are_stratified():
    digits = data.load("digits")
    assert digits.test.labels.bincount().tolist() == [50] * 10
    assert digits.validation.labels.bincount().tolist() == [20] * 10
    assert digits.train.labels.bincount().min() > 100


def test_digits_splits_are_disjoint_and_whole():
    digits = data.load("digits")
    parts = [rows(s.images) for s in (digits.train, digits.validation, digits.test)]
    assert [len(part) for part in parts] == [1097, 200, 500]  # every image differs from every other
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_digits_are_scikit_learns_with_test_last():
    digits = data.load("digits")
    bunch: Any = load_digits()
    of_class_7 = np.flatnonzero(bunch.target == 7)
    image = digits.test.images[digits.test.labels == 7][-1]
    wanted = Image.fromarray((bunch.images[of_class_7[-1]] * 255 / 16).astype(np.float32))
    resized = np.asarray(wanted.resize((32, 32), Image.Resampling.BILINEAR))
    for channel in image:
        np.testing.assert_allclose(channel.numpy(), resized, atol=1)


def test_digits_are_normalized_by_the_training_pixels():
    digits = data.load("digits")
    x = torch.cat([x for x, _ in Batches(digits.train)]).double()
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(3).double(), atol=1e-5, rtol=0)


def test_last_of_each_class():
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 2])
    rest, last = data.last_of_each_class(labels, 1)
    assert (rest.tolist(), last.tolist()) == ([0, 1, 2, 3], [4, 5, 6])


# batches


@pytest.mark.parametrize("size, expected", [(1, 23), (5, 5), (23, 1), (100, 1)])
@pytest.mark.parametrize("seed", [None, 0, 7])
def test_every_image_comes_once(size: int, expected: int, seed: int | None):
    batches = Batches(counting(), size, seed)
    seen = torch.cat([y for _, y in batches])
    assert len(list(batches)) == len(batches) == expected
    assert seen.sort().values.equal(torch.arange(23))


def test_images_keep_their_labels():
    for x, y in Batches(counting(), 5, seed=3):
        assert x[:, 0, 0, 0].equal(y.float())


def test_without_a_seed_the_order_is_the_splits():
    assert torch.cat([y for _, y in Batches(counting(), 5)]).equal(torch.arange(23))


def test_a_seed_repeats_an_epoch():
    split = data.load("digits").train.take(slice(64))

    def epoch(seed: int) -> Tensor:
        return torch.cat([x for x, _ in Batches(split, 10, seed, data.crop_and_flip)])

    batches = Batches(split, 10, 1, data.crop_and_flip)
    first, second = ([x for x, _ in batches] for _ in range(2))
    assert torch.cat(first).equal(torch.cat(second))
    assert torch.cat(first).equal(epoch(1))
    assert not epoch(1).equal(epoch(2))


def test_batches_leave_the_global_random_numbers_alone():
    before = torch.get_rng_state()
    list(Batches(data.load("digits").train.take(slice(64)), 10, 1, data.crop_and_flip))
    assert torch.get_rng_state().equal(before)


def test_batches_are_normalized_channel_by_channel():
    images = torch.randint(256, (6, 3, 4, 5), dtype=torch.uint8)
    mean, std = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([2.0, 4.0, 8.0])
    ((x, _),) = Batches(Split(images, torch.zeros(6).long(), mean, std), 6)
    for c in range(3):
        np.testing.assert_allclose(x[:, c], (images[:, c].numpy() - float(mean[c])) / float(std[c]), rtol=1e-6)
    assert x.dtype == torch.float32


def test_batches_leave_the_images_alone():
    split = counting()
    before = split.images.clone()
    for x, _ in Batches(split, 5):
        x.zero_()
    assert split.images.equal(before)


def test_a_batch_has_at_least_one_image():
    with pytest.raises(PrunekitError, match=r"size 0 is not a number of images; take 1 or more"):
        Batches(counting(), 0)


# augmentation


def naive_crop(image: np.ndarray, y: int, x: int, pad: int) -> np.ndarray:
    channels, h, w = image.shape
    wide = np.zeros((channels, h + 2 * pad, w + 2 * pad), image.dtype)
    wide[:, pad : pad + h, pad : pad + w] = image
    return wide[:, y : y + h, x : x + w]


@pytest.mark.parametrize("shape", [(9, 3, 8, 8), (5, 1, 6, 10)])
@pytest.mark.parametrize("pad", [1, 4])
def test_crop_equals_one_image_after_the_other(shape: tuple[int, ...], pad: int):
    images = torch.randint(1, 256, shape, dtype=torch.uint8)
    cropped = data.crop(images, torch.Generator().manual_seed(5), pad)
    ys, xs = torch.randint(2 * pad + 1, (2, len(images)), generator=torch.Generator().manual_seed(5)).tolist()
    for image, out, y, x in zip(images, cropped, ys, xs, strict=True):
        np.testing.assert_array_equal(out.numpy(), naive_crop(image.numpy(), y, x, pad))


def test_crop_reaches_every_shift():
    image = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    image[0, 0, 2, 2] = 1
    cropped = data.crop(image.expand(500, 1, 5, 5), torch.Generator().manual_seed(0), pad=2)
    places = {(y, x) for _, _, y, x in cropped.nonzero().tolist()}
    assert places == {(y, x) for y in range(5) for x in range(5)}


def test_flip_mirrors_half_of_the_images_left_to_right():
    ramp = torch.arange(1, 33, dtype=torch.uint8).expand(1000, 1, 1, 32).repeat(1, 1, 32, 1)
    out = data.crop_and_flip(ramp, torch.Generator().manual_seed(0))[:, 0, 16]
    steps = out[:, 17].int() - out[:, 16].int()
    assert set(steps.tolist()) == {1, -1}
    assert 450 < (steps == -1).sum() < 550


# CIFAR-10


@needs_cifar10
def test_cifar10_is_whole():
    cifar = data.load("cifar10")
    assert [len(s) for s in (cifar.train, cifar.validation, cifar.test)] == [45_000, 5_000, 10_000]
    assert [s.labels.bincount().tolist() for s in (cifar.train, cifar.validation, cifar.test)] == [
        [4500] * 10,
        [500] * 10,
        [1000] * 10,
    ]
    assert cifar.classes[cifar.test.labels[0]] == "cat"  # the first test image, as every tutorial shows it
    sums = cifar.train.images.sum((0, 2, 3)) + cifar.validation.images.sum((0, 2, 3))
    np.testing.assert_allclose(sums / (50_000 * 32 * 32), data.CIFAR10_MEAN, atol=0.06)  # printed with one decimal
    assert not rows(cifar.train.images[:, :, ::4, ::4]) & rows(cifar.validation.images[:, :, ::4, ::4])


@needs_cifar10
def test_cifar10_by_argument_comes_before_the_variable(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    assert CIFAR10 is not None
    assert len(data.cifar10(CIFAR10).test) == 10_000


def test_where_cifar10_lies(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PRUNEKIT_DATA", raising=False)
    assert data.cifar10_root() == tmp_path / "cache" / "prunekit"
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path / "variable"))
    assert data.cifar10_root() == tmp_path / "variable"
    assert data.cifar10_root(tmp_path / "argument") == tmp_path / "argument"


NAMES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch", "batches.meta"]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder that looks like the one with CIFAR-10; its files are links."""
    assert CIFAR10 is not None
    folder = tmp_path / data.CIFAR10_FOLDER
    folder.mkdir()
    for name in NAMES:
        (folder / name).symlink_to(Path(CIFAR10).resolve() / data.CIFAR10_FOLDER / name)
    return tmp_path


def own(path: Path) -> Path:
    """The same file as a copy, to be damaged."""
    original = path.resolve()
    path.unlink()
    shutil.copyfile(original, path)
    return path


@pytest.fixture
def offline(monkeypatch):
    """Whatever wants to download gets what a machine without network gives."""
    from prunekit._torchvision import torchvision

    def refuse(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torchvision.datasets.utils.urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", refuse)


@needs_cifar10
@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(copied: Path, offline, name: str):
    (copied / data.CIFAR10_FOLDER / name).unlink()
    with pytest.raises(FileError, match=rf"{name} is missing. Remove the folder .* or set PRUNEKIT_DATA"):
        data.cifar10(copied)


@needs_cifar10
@pytest.mark.parametrize("size", [0, 1000])
def test_a_truncated_file_is_named(copied: Path, offline, size: int):
    os.truncate(own(copied / data.CIFAR10_FOLDER / "data_batch_3"), size)
    with pytest.raises(FileError, match=r"data_batch_3 is damaged \(its MD5.*Remove the folder"):
        data.cifar10(copied)


@needs_cifar10
def test_one_wrong_byte_is_found(copied: Path, offline):
    path = own(copied / data.CIFAR10_FOLDER / "test_batch")
    with path.open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)
        file.seek(1_000_000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(FileError, match=r"test_batch is damaged"):
        data.cifar10(copied)


def test_a_made_up_folder_is_refused(tmp_path: Path, offline):
    folder = tmp_path / data.CIFAR10_FOLDER
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(b"not a pickle")
    with pytest.raises(FileError, match=r"data_batch_1 is damaged"):
        data.load("cifar10", tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path, offline):
    (tmp_path / data.CIFAR10_FOLDER).mkdir()
    with pytest.raises(FileError, match=r"data_batch_1 is missing"):
        data.load("cifar10", tmp_path)


def test_without_network_it_says_where_to_put_the_data(tmp_path: Path, offline):
    with pytest.raises(FileError, match=r"could not be downloaded.*unreachable.*set PRUNEKIT_DATA"):
        data.load("cifar10", tmp_path / "nowhere")


def test_a_download_that_breaks_off_is_refused_next_time(tmp_path: Path, monkeypatch):
    """An archive is unpacked file by file; what a kill leaves behind is not taken for the whole."""
    from prunekit._torchvision import torchvision

    def half(url: str, root: str, **kwargs):
        (Path(root) / data.CIFAR10_FOLDER).mkdir(parents=True)
        (Path(root) / data.CIFAR10_FOLDER / "data_batch_1").write_bytes(b"half")
        raise OSError("Connection reset by peer")

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", half)
    with pytest.raises(FileError, match=r"Connection reset"):
        data.load("cifar10", tmp_path)
    with pytest.raises(FileError, match=r"data_batch_1 is damaged"):
        data.load("cifar10", tmp_path)


def test_unknown_data_set():
    with pytest.raises(PrunekitError, match=r"'cifar100'.*digits, cifar10.*Did you mean 'cifar10'"):
        data.load("cifar100")


# ImageNet


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Four images of two classes: black squares are "a", white rectangles "b"."""
    for part in ("train", "val"):
        for name, level in (("a", 0), ("b", 255)):
            (tmp_path / part / name).mkdir(parents=True)
            for i, size in enumerate([(40, 40), (64, 48)]):
                Image.new("RGB", size, (level,) * 3).save(tmp_path / part / name / f"{i}.png")
    return tmp_path


def test_imagenet_is_read_and_normalized(imagenet: Path):
    train, val = data.imagenet(imagenet, batch_size=3, size=32, workers=0)
    for loader in (train, val):
        x, y = (torch.cat(part) for part in zip(*loader, strict=True))
        assert x.shape == (4, 3, 32, 32)
        assert y.sort().values.tolist() == [0, 0, 1, 1]
        level = torch.stack([torch.zeros(3), torch.ones(3)])[y]
        wanted = (level - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
        torch.testing.assert_close(x, wanted[:, :, None, None].expand_as(x))


def test_imagenet_is_shuffled_for_training_only(imagenet: Path):
    train, val = data.imagenet(imagenet, batch_size=1, size=32, workers=0)
    assert [int(y) for _, y in val] == [0, 0, 1, 1]
    torch.manual_seed(0)
    orders = {tuple(int(y) for _, y in train) for _ in range(20)}
    assert len(orders) > 1


def test_imagenet_validation_crops_the_middle(tmp_path: Path):
    for part in ("train", "val"):
        (tmp_path / part / "a").mkdir(parents=True)
        image = Image.new("RGB", (96, 32))
        image.paste((255, 255, 255), (32, 0, 64, 32))  # only the middle third is white
        image.save(tmp_path / part / "a" / "0.png")
    _, val = data.imagenet(tmp_path, size=28, workers=0)  # the shorter side to 32, then the middle 28 pixels
    ((x, _),) = val
    torch.testing.assert_close(x[0, 0], torch.full((28, 28), (1 - 0.485) / 0.229))


@pytest.mark.parametrize("missing", ["train", "val"])
def test_imagenet_without_a_folder(imagenet: Path, missing: str):
    shutil.rmtree(imagenet / missing)
    with pytest.raises(FileError, match=rf"{missing} is not a folder of one folder of images per class"):
        data.imagenet(imagenet, workers=0)


def test_imagenet_class_without_images(imagenet: Path):
    (imagenet / "val" / "c").mkdir()
    with pytest.raises(FileError, match=r"val is not a folder of one folder of images per class.*c"):
        data.imagenet(imagenet, workers=0)
