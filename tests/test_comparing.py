"""The lines and bands are those of the table."""

from collections.abc import Iterator

import matplotlib
import pandas as pd
import pytest

from prunekit import comparing

matplotlib.use("agg")

NAMES = {"l1": "smallest", "random": "at random"}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    matplotlib.pyplot.close("all")


def table() -> pd.DataFrame:
    """Three layers, two rates; random filters drawn three times, the others once and without a draw."""
    rows = [
        {"number": number, "criterion": criterion, "rate": rate, "draw": draw,
         "correct": 90 - number - (30 if rate == 0.9 else 0) - penalty, "total": 100, "baseline_correct": 95}
        for number in (1, 5, 12) for rate in (0.9, 0.5)
        for criterion, draw, penalty in [("l1", None, 0), ("largest", None, 20), ("random", 0, 0), ("random", 1, 3),
                                         ("random", 2, 6)]
    ]  # fmt: skip
    return pd.DataFrame(rows)


def plotted(ax) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()[1:]}  # the first is the grey one


def band(ax) -> list[list[float]]:
    """Lowest and highest of each band, at each rate."""
    corners = [path.vertices for collection in ax.collections for path in collection.get_paths()]
    rates = sorted({x for x, _ in corners[0]})
    return [[f(y for x, y in corners[0] if x == rate) for f in (min, max)] for rate in rates]


def test_a_panel_per_layer_with_the_named_criteria_and_the_spread_of_draws():
    first = comparing.by_layer(table(), NAMES, columns=2)
    axes = [ax for ax in first.figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in axes] == ["conv 1", "conv 5", "conv 12"]
    for ax, number in zip(axes, (1, 5, 12), strict=True):
        best = [0.9 - number / 100, 0.6 - number / 100]
        assert list(ax.get_lines()[1].get_xdata()) == [0, 0.5, 0.9]
        lines = plotted(ax)
        assert lines["smallest"] == pytest.approx([0.95, *best])
        assert lines["at random"] == pytest.approx([0.95, *(y - 0.03 for y in best)])
        assert set(lines) == set(NAMES.values())
        assert len(ax.collections) == 1
        for found, wanted in zip(band(ax), [[0.95, 0.95], *([y - 0.06, y] for y in best)], strict=True):
            assert found == pytest.approx(wanted)
    assert [text.get_text() for text in first.figure.legends[0].get_texts()] == list(NAMES.values())


def test_the_average_is_over_layers_and_the_band_over_draws():
    ax = comparing.averaged(table(), {"largest": "largest", **NAMES})
    lines = plotted(ax)
    assert lines["smallest"] == pytest.approx([0.95, 0.84, 0.54])
    assert lines["largest"] == pytest.approx([0.95, 0.64, 0.34])
    assert lines["at random"] == pytest.approx([0.95, 0.81, 0.51])
    assert [b for pair in band(ax) for b in pair] == pytest.approx([0.95, 0.95, 0.78, 0.84, 0.48, 0.54])


def test_no_two_criteria_share_a_color():
    names = [f"criterion {place}" for place in range(6)]
    once = pd.concat([table().query("criterion == 'l1'").assign(criterion=name) for name in names])
    ax = comparing.averaged(once, {name: name for name in names})
    assert len({line.get_color() for line in ax.get_lines()[1:]}) == len(names)


def test_a_table_without_draws_has_lines_without_bands():
    once = table().query("criterion == 'l1'").drop(columns="draw")
    ax = comparing.by_layer(once, {"l1": "smallest"})
    assert not ax.collections and len(ax.get_lines()) == 2
