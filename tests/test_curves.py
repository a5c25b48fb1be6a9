"""Curves show the table that they were given: the plotted data is compared, not the pixels."""

import matplotlib
import pandas as pd
import pytest

from prunekit import curves

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")


def test_by_epoch_has_a_line_for_each_series_and_its_baseline():
    table = pd.DataFrame(
        {"series": ["b", "a", "b", "a"], "epoch": [1, 1, 0, 0], "correct": [8, 9, 2, 1], "total": 10,
         "baseline_correct": [7, 9, 7, 9]}
    )  # fmt: skip
    ax = curves.by_epoch(table, lowest=0.15)
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert lines["b"].get_xdata().tolist() == [0, 1] and lines["b"].get_ydata().tolist() == [0.2, 0.8]
    assert lines["a"].get_ydata().tolist() == [0.1, 0.9]
    level = next(line for line in ax.get_lines() if list(line.get_ydata()) == [0.7, 0.7])
    assert level.get_color() == lines["b"].get_color() != lines["a"].get_color()
    assert ax.get_ylim()[0] == 0.15


def test_by_budget_has_a_line_or_a_mark_for_each_series_named_at_its_smallest_network():
    table = pd.DataFrame(
        {"series": ["best", "hand", "best"], "left": [0.9, 0.7, 0.5], "correct": [9, 3, 6], "total": 10,
         "baseline_correct": 8}
    )  # fmt: skip
    ax = curves.by_budget(table)
    best, hand, baseline = ax.get_lines()
    assert best.get_xydata().tolist() == [[0.5, 0.6], [0.9, 0.9]] and hand.get_xydata().tolist() == [[0.7, 0.3]]
    assert list(baseline.get_ydata()) == [0.8, 0.8]
    assert {text.get_text(): text.xy for text in ax.texts} == {"best": (0.5, 0.6), "hand": (0.7, 0.3)}
    assert [text.get_color() for text in ax.texts] == [line.get_color() for line in (best, hand)]


def test_regained_joins_each_layer_before_and_after_in_the_panel_of_its_rate():
    table = pd.DataFrame(
        {"number": [1, 2, 1, 2], "rate": [0.9, 0.9, 0.5, 0.5], "before": [2, 4, 6, 8], "after": [3, 6, 9, 9],
         "baseline_correct": 9, "total": 10}
    )  # fmt: skip
    half, most = curves.regained(table).figure.axes
    assert [ax.get_title()[:3] for ax in (half, most)] == ["50%", "90%"]
    for ax, before, after in ((half, [0.6, 0.8], [0.9, 0.9]), (most, [0.2, 0.4], [0.3, 0.6])):
        lines = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}
        assert (lines["after the cut"], lines["after retraining"]) == (before, after)
    labels = [line.get_label() for line in curves.regained(table, after="after a rest").figure.axes[0].get_lines()]
    assert labels[:2] == ["after the cut", "after a rest"]


def test_savings_lie_where_the_table_says_with_their_range():
    table = pd.DataFrame(
        {"group": ["here", "paper"], "pair": ["x", "y"], "macs_saved": [0.4, 0.3], "time_saved": [0.1, 0.2],
         "low": [-0.1, None], "high": [0.15, None]}
    )  # fmt: skip
    ax = curves.savings(table)
    here, paper = (bar.lines for bar in ax.containers)
    assert here[0].get_xydata().tolist() == [[0.4, 0.1]] and paper[0].get_xydata().tolist() == [[0.3, 0.2]]
    assert here[2][0].get_segments()[0][:, 1].tolist() == pytest.approx([-0.1, 0.15])
    looks = [(lines[0].get_color(), lines[0].get_marker()) for lines in (here, paper)]
    keys = {line.get_label(): line for line in ax.get_lines()}
    assert looks == [(keys[g].get_color(), keys[p].get_marker()) for g, p in (("here", "x"), ("paper", "y"))]


def test_widths_are_in_milliseconds_beside_proportion():
    proportion, times = curves.widths(pd.DataFrame({"filters": [4, 8], "fastest": [0.001, 0.004]})).get_lines()
    assert proportion.get_xydata().tolist() == [[0, 0], [8, 4]]
    assert times.get_xydata().tolist() == [[4, 1], [8, 4]]
