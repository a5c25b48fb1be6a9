"""The picture of a filter's course shows the table: patches, lines and words are compared with it, not pixels."""

import matplotlib
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle
from odd_nets import Around, made

import prunekit as pk
from prunekit.flowing import flow
from prunekit.streams import INCHES, draw_flow, links, rails, runs

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")


def painted(ax: Axes, widest: int) -> set[tuple[int, int, str]]:
    """Row, place and filter of each painted stripe."""
    stripes = [patch for patch in ax.patches if isinstance(patch, Rectangle) and "[" in str(patch.get_label())]
    cell = INCHES / widest
    return {(round(s.get_y() + s.get_height() / 2), int(s.get_x() / cell + 1e-6), str(s.get_label())) for s in stripes}


def said(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts if len(text.get_text()) > 1]


@pytest.mark.parametrize("name, layer", [("concatenated", "a"), ("viewed", "a"), ("chunked", "a"), ("doubled", "b"),
                                         ("resnet20 pad", "conv1"), ("stacked", "a")])  # fmt: skip
def test_cells_are_painted_as_the_table_says(name: str, layer: str):
    model, inputs = made(name)
    table = flow(pk.trace(model, *inputs), layer, 1)
    expected = {
        (number, place, filter_)
        for number, row in enumerate(table.to_dict("records"))
        for place, paints in zip(row["painted"], row["paints"], strict=True)
        for filter_ in paints
    }
    ax = draw_flow(table)
    assert painted(ax, table["channels"].max()) == expected
    assert [label.get_text().split()[0] for label in ax.get_yticklabels()] == list(table["operation"])
    assert len(said(ax)) == len(table)


def test_words_streams_and_the_line_around_a_block():
    table = flow(pk.trace(Around(), torch.zeros(1, 3, 2, 2)), "a", 2)
    ax = draw_flow(table)
    assert said(ax) == ["gives A = a[2]", "carries 4 entries for it", "passes", "reads: b.weight[:, 2]",
                        "gives B = b[2]", "A and B become one", "passes, to other places",
                        "reads: fc.weight[:, 8:12]"]  # fmt: skip
    streams = [patch for patch in ax.patches if isinstance(patch, Polygon)]
    assert len(streams) == 3 + 1 + 2 + 2 * 4  # to b; from b to the sum; one for each color to the flatten and to fc
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == 1 and [str(line.get_label()) for line in ax.get_lines()] == ["2 to 5"]
    letters = [text.get_text() for text in ax.texts if len(text.get_text()) == 1]
    assert letters.count("A") >= 4 and letters.count("B") >= 1


def test_what_is_read_ends_at_a_line_and_what_is_frozen_is_hatched():
    graph = pk.trace(Around(), torch.zeros(1, 3, 2, 2))
    ends = [c for c in draw_flow(flow(graph, "a", 2)).collections if c.get_linewidth()[0] > 3]
    assert len(ends) == 1 + 4
    ax = draw_flow(flow(graph, "fc", 1))
    assert [p.get_hatch() for p in ax.patches if p.get_hatch()] == ["////"]
    assert said(ax)[-1] == "freezes: it reaches the network's output"


def test_where_paint_flows():
    def row(painted: tuple[int, ...], *paints: tuple[str, ...], channels: int = 8, happens: str = "moves") -> dict:
        return {"painted": painted, "paints": paints, "channels": channels, "happens": happens}

    one, ab = row((1,), ("a[1]",)), ("a[0]", "a[2]")
    assert links(one, row((4, 5, 6), *[("a[1]",)] * 3, channels=24)) == [(1, (4, 7))]
    assert links(one, row((0, 3), ("a[1]", "b[1]"), ("c[0]",))) == [(1, (0, 1))]
    two = row((0, 2), ab, ab)
    assert links(two, row((0, 1, 4, 5), *[ab] * 4, channels=16)) == [(0, (0, 2)), (2, (4, 6))]
    apart = row((0, 2), ("a[0]",), ("a[2]",))  # they become one where they are read, and stay in their places
    assert links(apart, row((0, 2), ab, ab, happens="reads")) == [(0, (0, 1)), (2, (2, 3))]
    assert runs([0, 1, 4, 6, 7]) == [(0, 2), (4, 5), (6, 8)]


def test_lines_that_meet_are_side_by_side():
    def rows(*sources: tuple[int, ...]) -> list[dict]:
        return [{"sources": s} for s in sources]

    assert rails(rows((), (0,), (1, 0), (2,), (3, 2))) == {(0, 2): 0, (2, 4): 0}
    assert rails(rows((), (0,), (1,), (2, 0), (3, 1))) == {(0, 3): 0, (1, 4): 1}


def test_given_axes_are_drawn_on():
    _, ax = matplotlib.pyplot.subplots()
    assert draw_flow(flow(pk.trace(Around(), torch.zeros(1, 3, 2, 2)), "a", 0), ax) is ax
