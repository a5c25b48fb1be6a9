"""Panels show the table that they were given: the plotted data is compared, not the pixels."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.legend import Legend

from prunekit.panels import panels

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")


def table() -> pd.DataFrame:
    rows = [
        {"panel": f"stage {stage}", "line": f"layer {layer}", "marked": layer == 20, "rate": rate, "total": 200,
         "correct": 150 - 10 * layer + stage - int(50 * rate), "baseline_correct": 190}
        for stage in (1, 2, 3, 4) for layer in (2, 20, 4) for rate in (0.5, 0.1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def lines(ax: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """The lines with more than two points, which the unpruned network's has."""
    found = {str(line.get_label()): np.asarray(line.get_xydata()).T.tolist() for line in ax.get_lines()}
    return {name: (x, y) for name, (x, y) in ((n, xy) for n, xy in found.items() if len(xy[0]) > 2)}


def test_each_line_is_in_its_panel_from_the_unpruned_network_on():
    given = table()
    shown = [ax for ax in panels(given).figure.axes if ax.axison]
    assert [ax.get_title() for ax in shown] == ["stage 1", "stage 2", "stage 3", "stage 4"]
    for ax in shown:
        rows = given[given["panel"] == ax.get_title()]
        assert list(lines(ax)) == ["_layer 2", "layer 20", "_layer 4"]  # what begins with _ is not in the legend
        for name, (x, y) in lines(ax).items():
            some = rows[rows["line"] == name.removeprefix("_")].sort_values("rate")
            assert x == [0, *some["rate"]] and y == [190 / 200, *(some["correct"] / 200)]


def named(legend: Legend | None) -> list[str]:
    return [text.get_text() for text in legend.get_texts()] if legend else []


def test_names_stand_below_if_all_panels_have_the_same_and_in_each_if_not():
    figure = panels(table()).figure
    assert [named(legend) for legend in figure.legends] == [["layer 20", "other layers"]]
    assert not any(named(ax.get_legend()) for ax in figure.axes)
    given = table()
    given["marked"] = (given["panel"] == "stage 2") & (given["line"] != "layer 2")
    figure = panels(given, others="the rest").figure
    expected = [["the rest"], ["layer 20", "layer 4", "the rest"], ["the rest"], ["the rest"]]
    assert [named(ax.get_legend()) for ax in figure.axes if ax.axison] == expected and not figure.legends


def test_the_horizontal_axis_is_named_in_the_middle_or_in_each_panel():
    names = [ax.get_xlabel() for ax in panels(table()).figure.axes]
    assert names == ["", "", "", "", "filters removed", ""]
    names = [ax.get_xlabel() for ax in panels(table().query("panel < 'stage 3'")).figure.axes]
    assert names == ["filters removed"] * 2


def test_without_an_unpruned_network_lines_start_at_their_first_rate():
    given = table().drop(columns="baseline_correct").assign(marked=True)
    (ax, *_) = panels(given[given["panel"] == "stage 1"]).figure.axes
    drawn = [np.asarray(line.get_xdata()).tolist() for line in ax.get_lines()]
    assert drawn == [[0.1, 0.5]] * 3
    looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in ax.get_lines()]
    assert len(set(looks)) == 3
    assert [line.get_label() for line in ax.get_lines()] == ["layer 2", "layer 20", "layer 4"]
