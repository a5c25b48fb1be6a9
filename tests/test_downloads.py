"""What the site offers to download: the zips hold what they say, and a network is the one that was measured."""

import hashlib
import zipfile
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from torch import nn

import downloads
import packing
import student
from prunekit import files, nets
from prunekit.errors import FileError
from prunekit.ledger import Ledger


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one table, one trained network and one notebook."""
    root = tmp_path / "project"
    torch.manual_seed(0)
    model = nets.resnet56().half()
    files.save(model, [], made(root / "weights" / "cifar10-short") / "resnet56-seed0.safetensors")
    ledger = Ledger(root / "results", "cifar10-short")
    with ledger.run("prunekit reproduce baseline-resnet56", weights=model.float()) as run:
        rows = [{"network": "resnet56", "seed": 0, "split": "test", "epochs": 12, "correct": 450, "total": 500}]
        ledger.add("baseline-resnet56", rows, ["network", "seed", "split"], run)
    cells = [new_code_cell("x = 12", metadata={"tags": ["solution"]}), new_code_cell("1 + 1")]
    nbformat.write(new_notebook(cells=cells), made(root / "notebooks") / "01_a.ipynb")
    return root


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def packed(root: Path) -> Path:
    packing.pack(root, root / "notebooks", root / "results", root / "files")
    return root / "files"


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_zips_hold_results_notebooks_and_the_student_edition(project: Path):
    found = downloads.zips(packed(project))
    assert [path.stem.rpartition("-")[2] for path in found] == list(downloads.ZIPS)
    results, notebooks, edition = found
    inside = {"cifar10-short/baseline-resnet56.csv", "cifar10-short/runs.jsonl", "cifar10-short/tables.json"}
    assert names(results) == {f"{results.stem}/{name}" for name in inside}
    assert names(notebooks) == {f"{notebooks.stem}/01_a.ipynb"}
    assert f"{student.NAME}/notebooks/01_a.ipynb" in names(edition)
    with zipfile.ZipFile(edition) as archive:
        assert "x = 12" not in archive.read(f"{student.NAME}/notebooks/01_a.ipynb").decode()


def test_the_list_gives_address_size_and_checksum(project: Path):
    folder = packed(project)
    path = next(iter(downloads.zips(folder)))
    text = downloads.listing({path: "What <it> holds."}, folder, "../")
    assert f'<a href="../downloads/{path.name}" download>{path.name}</a>' in text
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text and "What &lt;it&gt; holds." in text
    (folder / "big").write_bytes(bytes(1_250_000))
    assert downloads.size(folder / "big") == "1.2 MB"


def test_a_network_comes_with_the_accuracy_that_was_measured(project: Path):
    ((path, what),) = downloads.networks(packed(project)).items()
    assert path.name == "resnet56-seed0.safetensors"
    assert what == "resnet56 in the setting cifar10-short, 12 epochs, seed 0: 90.00% of 500 test images right."


def test_a_network_that_was_never_counted_is_not_offered(project: Path):
    folder = packed(project)
    path = folder / "weights" / "cifar10-short" / "resnet56-seed0.safetensors"
    path.rename(path.with_name("resnet56-seed7.safetensors"))
    assert not downloads.networks(folder)


def test_another_network_under_that_name_is_refused(project: Path):
    folder = packed(project)
    other = nets.resnet56().half()
    nn.init.ones_(other.conv1.weight)
    files.save(other, [], folder / "weights" / "cifar10-short" / "resnet56-seed0.safetensors")
    with pytest.raises(FileError, match="its checksum is another"):
        downloads.networks(folder)


def test_a_project_without_results_offers_nothing(tmp_path: Path):
    (tmp_path / "notebooks").mkdir()
    folder = packed(tmp_path)
    assert not downloads.zips(folder) and not downloads.networks(folder)
