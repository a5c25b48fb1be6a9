"""The figures of single classes and of confidence, by their plotted data."""

from collections.abc import Iterator

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from prunekit import dots

matplotlib.use("agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def test_classes_are_sorted_by_the_last_network_worst_on_top():
    table = pd.DataFrame(
        {"network": ["a", "a", "b", "b"], "class": ["x", "y", "x", "y"], "accuracy": [0.5, 0.6, 0.9, 0.4],
         "low": [0.4, 0.5, 0.8, 0.3], "high": [0.6, 0.7, 1.0, 0.5]}
    )  # fmt: skip
    ax = dots.by_class(table)
    ticks = dict(zip([t.get_text() for t in ax.get_yticklabels()], ax.get_yticks(), strict=True))
    assert ticks["y"] > ticks["x"], "b is worse at y"
    marks = {str(line.get_label()): line for line in ax.get_lines()}
    for name, accuracy in (("a", [0.5, 0.6]), ("b", [0.9, 0.4])):
        assert np.asarray(marks[name].get_xdata()).tolist() == accuracy
        assert np.asarray(marks[name].get_ydata()).round().tolist() == [ticks["x"], ticks["y"]]
    heights = [np.asarray(marks[name].get_ydata()).tolist() for name in ("a", "b")]
    assert all(a > b for a, b in zip(*heights, strict=True)), "none covers another"
    spans = [sorted(np.asarray(path.vertices)[:, 0].tolist()) for lines in ax.collections for path in lines.get_paths()]
    assert spans == [[0.4, 0.6], [0.5, 0.7], [0.8, 1.0], [0.3, 0.5]]


def test_a_panel_per_network_with_its_bins_and_the_line_of_honesty():
    rows = pd.DataFrame({"confidence": [0.35, 0.97], "accuracy": [0.2, 0.9], "total": [10, 90]})
    first = dots.reliability({"before": rows, "after": rows.iloc[1:]})
    one, two = first.figure.axes
    assert [ax.get_title() for ax in (one, two)] == ["before", "after"] and first is one
    for ax, points in ((one, [[0.35, 0.2], [0.97, 0.9]]), (two, [[0.97, 0.9]])):
        (line,) = ax.get_lines()
        assert line.get_xydata().tolist() == [[0, 0], [1, 1]]
        (marks,) = [c for c in ax.collections if isinstance(c, PathCollection)]
        assert marks.get_offsets().tolist() == points
    (sizes,) = [c.get_sizes() for c in one.collections if isinstance(c, PathCollection)]
    assert sizes[1] > sizes[0]


@pytest.mark.parametrize("count, rows, empty", [(3, 1, 0), (4, 2, 0), (5, 2, 1)])
def test_many_panels_take_two_rows(count: int, rows: int, empty: int):
    table = pd.DataFrame({"confidence": [0.5], "accuracy": [0.5], "total": [10]})
    axes = dots.reliability({str(n): table for n in range(count)}).figure.axes
    assert len({ax.get_subplotspec().rowspan.start for ax in axes}) == rows
    assert [ax.axison for ax in axes] == [True] * count + [False] * empty
