"""The picture of a graph shows the graph: what is plotted is compared with it, not the pixels."""

import subprocess
import sys
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from odd_nets import ALL, DRAWN, made

import prunekit as pk
from prunekit.drawing import HATCHES, bands, color_of, draw, letters
from prunekit.errors import PlanError
from prunekit.tracing import Graph

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")


def traced(name: str) -> Graph:
    model, inputs = made(name)
    return pk.trace(model, *inputs)


def bars(ax: Axes) -> list[Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def rows_of(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def dots(ax: Axes) -> dict[str, list[str]]:
    """The layers that have a dot, by group."""
    lines = {str(line.get_label()): line for line in ax.get_lines() if line.get_marker() == "o"}
    return {group: [rows_of(ax)[int(y)] for y in np.asarray(line.get_ydata())] for group, line in lines.items()}


@pytest.mark.parametrize("name", [*ALL, *DRAWN])
def test_bands_are_the_graph(name: str):
    graph = traced(name)
    table = bands(graph)
    partners: dict[tuple[str, int], set[tuple[str, int]]] = {}  # by group and unit, for every filter
    for layer, colors in graph.layers.items():
        rows = table[table["layer"] == layer].to_dict("records")
        assert rows[0]["start"] == 0 and rows[-1]["stop"] == len(colors)
        assert all(a["stop"] == b["start"] for a, b in pairwise(rows))
        for a, b in pairwise(rows):
            assert [a[k] for k in ("kind", "group", "reason")] != [b[k] for k in ("kind", "group", "reason")]
        for row in rows:
            assert len(row["units"]) == row["stop"] - row["start"]
            for index, unit in zip(range(row["start"], row["stop"]), row["units"], strict=True):
                color = colors[index]
                assert row["reason"] == graph.reasons.get(color, "")
                assert (row["kind"] == "frozen") == (color in graph.reasons)
                if row["kind"] == "alone":
                    assert graph.givers[color] == [(layer, index)]
                elif row["kind"] == "tied":
                    partners.setdefault((row["group"], unit), set()).add((layer, index))
    tied = {color for color, givers in graph.givers.items() if len(givers) > 1 and color not in graph.reasons}
    assert sorted(map(sorted, partners.values())) == sorted(sorted(graph.givers[color]) for color in tied)


@pytest.mark.parametrize("name", ["resnet20 pad", "resnet20 projection", "doubled", "weighted", "gated", "drawn 4"])
def test_every_layer_has_a_row_and_every_band_a_bar(name: str):
    graph = traced(name)
    ax, table = draw(graph), bands(graph)
    assert rows_of(ax) == list(graph.layers)
    assert len(bars(ax)) == len(table)
    widest = max(map(len, graph.layers.values()))
    for bar, band in zip(bars(ax), table.to_dict("records"), strict=True):
        assert bar.get_y() + bar.get_height() / 2 == pytest.approx(list(graph.layers).index(band["layer"]))
        assert bar.get_width() / 5 == pytest.approx((band["stop"] - band["start"]) / widest)
        assert bar.get_x() / 5 == pytest.approx(band["start"] / widest)
        assert bool(bar.get_hatch()) == (band["kind"] == "frozen")
        red, green, blue = to_rgb(bar.get_facecolor())
        assert (red == green == blue) == (band["kind"] != "tied")  # only what is tied has a color


def test_rails_have_a_dot_for_each_tied_layer():
    graph = traced("resnet20 pad")
    ax = draw(graph)
    found = dots(ax)
    assert list(found) == ["A", "B", "C"]
    assert found["A"] == ["conv1", *(f"layer{s}.{b}.conv2" for s in (1, 2, 3) for b in range(3))]
    assert found["A"][1:] == graph.tied("conv1")
    assert found["C"] == [f"layer3.{b}.conv2" for b in range(3)]
    assert not [line for line in ax.get_lines() if "more" in str(line.get_label())]
    written = [text.get_text() for text in ax.texts]
    assert all(written.count(group) == 1 for group in "ABC")  # at its rail; in narrow layers, bands have numbers
    assert {"A1", "B4", "C8"} <= set(written) and "C9" not in written


def test_a_block_alone_shows_that_it_is_tied_to_others():
    graph = traced("resnet20 projection")
    ax = draw(graph, "layer2.1.*")
    assert rows_of(ax) == ["layer2.1.conv1", "layer2.1.conv2"]
    assert dots(ax) == {"A": ["layer2.1.conv2"]}
    assert sorted(str(line.get_marker()) for line in ax.get_lines() if line.get_label() == "more of A") == ["^", "v"]
    first = draw(graph, ["layer2.0.*", "layer2.1.*"])
    assert [str(line.get_marker()) for line in first.get_lines() if line.get_label() == "more of A"] == ["v"]


def test_filters_that_go_together_have_one_number():
    ax = draw(traced("doubled"))  # filters i and i + 4 of b are tied to filter i of a
    places = {text.get_position(): text.get_text() for text in ax.texts}
    by_row = [[name for (_, y), name in sorted(places.items()) if y == row] for row in range(4)]
    assert by_row == [["A1", "A2", "A3", "A4"], ["A1", "A2", "A3", "A4"] * 2, [], []]


def test_units_of_several_filters_are_counted():
    class Doubled(torch.nn.Module):
        """The maps of a twice, added to those of b."""

        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (torch.nn.Conv2d(*size, 1) for size in ((3, 12), (3, 24), (24, 3)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a = self.a(x)
            return self.c(torch.cat([a, a], 1) + self.b(x))

    ax = draw(pk.trace(Doubled(), torch.randn(1, 3, 4, 4)))
    assert [text.get_text() for text in ax.texts] == ["A", "A: 12 units", "A"]  # the last is at the rail


def test_each_reason_has_a_hatch_and_a_line_in_the_legend():
    graph = traced("weighted")
    ax = draw(graph)
    reasons = list(dict.fromkeys(graph.reasons[color] for colors in graph.layers.values() for color in colors
                                 if color in graph.reasons))  # fmt: skip
    assert len(reasons) == 2
    legend = ax.get_legend()
    named = {text.get_text(): patch for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)}
    assert list(named) == ["each filter can go by itself", *(f"cannot go: {reason}" for reason in reasons)]
    for bar, band in zip(bars(ax), bands(graph).to_dict("records"), strict=True):
        if band["kind"] == "frozen":
            assert bar.get_hatch() == named[f"cannot go: {band['reason']}"].get_hatch() in HATCHES
    assert len({patch.get_hatch() for patch in named.values()}) == 3


def test_rails_that_meet_are_side_by_side():
    lines = {}
    for line in draw(traced("resnet20 pad")).get_lines():
        if line.get_marker() == "o":
            lines[line.get_label()] = set(np.asarray(line.get_xdata()).tolist())
    assert all(len(x) == 1 for x in lines.values()) and len(set.union(*lines.values())) == 3
    apart = [line for line in draw(traced("resnet20 projection")).get_lines() if line.get_marker() == "o"]
    assert len(apart) == 3 and len({x for line in apart for x in np.asarray(line.get_xdata()).tolist()}) == 2


def test_a_wide_network_is_on_a_square_root_scale():
    assert draw(traced("vgg16")).get_xlabel() == "filters"  # 4 to 32
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 100, 1), torch.nn.Conv2d(100, 400, 1))
    ax = draw(pk.trace(model, torch.randn(1, 3, 4, 4)))
    assert ax.get_xlabel() == "filters, on a square-root scale"
    assert [bar.get_width() for bar in bars(ax)] == pytest.approx([0.5, 2.5, 5])
    ticks = {label.get_text(): place for label, place in zip(ax.get_xticklabels(), ax.get_xticks(), strict=True)}
    assert ticks["16"] == pytest.approx(1) and ticks["256"] == pytest.approx(4) and ticks["0"] == 0


def test_dozens_of_layers_stay_on_a_page():
    graph = pk.trace(pk.nets.resnet56(), torch.randn(1, 3, 32, 32))
    ax = draw(graph)
    assert len(rows_of(ax)) == 56
    assert ax.figure.get_size_inches()[1] < 11
    written = [text.get_text() for text in ax.texts]
    assert written.count("A") == 1 + 28 and written.count("B") == 1 + 18 and written.count("C") == 1 + 9


def test_given_axes_are_drawn_on():
    _, ax = matplotlib.pyplot.subplots()
    assert draw(traced("viewed"), ax=ax) is ax and bars(ax)


def test_letters_and_colors():
    assert [letters(n) for n in (0, 1, 25, 26, 27, 51, 52, 701, 702)] == [
        "A", "B", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA",
    ]  # fmt: skip
    colors = [color_of(letters(n)) for n in range(7)]
    assert len(set(colors)) == 7
    for color in colors:  # dark enough for a line on white, and different from grey
        red, green, blue = color
        assert 0.3 * red + 0.59 * green + 0.11 * blue < 0.75 and max(color) - min(color) > 0.1


def test_pictures_are_imported_when_they_are_asked_for():
    assert pk.draw is draw
    loaded = "'matplotlib' in sys.modules"
    program = f"import sys, prunekit; assert not {loaded}; prunekit.draw; assert {loaded}"
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AttributeError, match="no attribute 'drew'"):
        pk.drew  # noqa: B018 - asking is what is tested


def test_a_network_that_was_not_traced():
    with pytest.raises(PlanError, match=r"needs what pk.trace\(model, example\) returns, not a VGG16"):
        draw(pk.nets.vgg16(1 / 16))  # type: ignore[arg-type]


def test_layers_that_are_not_there():
    with pytest.raises(PlanError, match=r"no layer 'layer4"):
        draw(traced("resnet20 pad"), "layer4.*")
    with pytest.raises(PlanError, match=r"no layer to draw"):
        draw(traced("resnet20 pad"), [])
