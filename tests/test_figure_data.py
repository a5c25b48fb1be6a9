"""The tables below a figure: which setting and which files a cell's names stand for, and how the page links them."""

from pathlib import Path

import pytest

import figure_data
from prunekit.errors import PrunekitError
from prunekit.ledger import Ledger


@pytest.fixture
def root(tmp_path: Path) -> Path:
    there = {
        "digits": ["baseline-vgg16", "sensitivity-vgg16", "wall-clock"],
        "cifar10": ["baseline-vgg16", "baseline-resnet56", "wall-clock"],
        "benchmarks": ["forward"],
    }
    for setting, names in there.items():
        ledger = Ledger(tmp_path, setting)
        with ledger.run("demo") as run:
            for name in names:
                ledger.add(name, [{"seed": 0}], ["seed"], run)
    return tmp_path


@pytest.mark.parametrize(
    "names, found",
    [
        ([], []),
        (["baseline-vgg16"], ["cifar10/baseline-vgg16"]),
        (["baseline-vgg16", "sensitivity-vgg16"], ["digits/baseline-vgg16", "digits/sensitivity-vgg16"]),
        (["baseline-vgg16", "baseline-*"], ["cifar10/baseline-vgg16", "cifar10/baseline-resnet56"]),
        (["sensitivity-vgg16", "retraining-*"], ["digits/sensitivity-vgg16"]),
        (["digits/baseline-vgg16"], ["digits/baseline-vgg16"]),
        (["*/wall-clock"], ["cifar10/wall-clock", "digits/wall-clock"]),
        (["benchmarks/forward", "baseline-vgg16"], ["benchmarks/forward", "cifar10/baseline-vgg16"]),
    ],
)
def test_names_stand_for_tables_of_the_largest_setting_that_has_them(root: Path, names: list[str], found: list[str]):
    assert ["/".join(pair) for pair in figure_data.tables(names, root)] == found


@pytest.mark.parametrize(
    "names", [["absent"], ["baseline-resnet56", "sensitivity-vgg16"], ["cifar10/forward"], ["x-*"]]
)
def test_a_name_that_stands_for_nothing_is_refused(root: Path, names: list[str]):
    with pytest.raises(PrunekitError, match=r"No table (is called|fits)"):
        figure_data.tables(names, root)


def test_the_line_names_files_and_settings():
    text = figure_data.line([("digits", "a"), ("cifar10", "b")], "../")
    assert '<a href="../results/cifar10/b.csv" download>b.csv</a> (digits, cifar10).' in text
    assert figure_data.line([], "../") == figure_data.COMPUTED
