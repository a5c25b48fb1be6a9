"""What the pictures of matrices mark is what goes: patches and texts are counted, not pixels."""

from collections import Counter

import matplotlib
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from prunekit import schemes

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")


def squares(ax: Axes) -> list[Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def hatches(ax: Axes) -> Counter:
    return Counter(patch.get_hatch() or "" for patch in squares(ax))


def test_a_block_loses_a_filter_its_readers_and_one_column_of_all_that_is_added_up():
    ax = schemes.residual_block(inputs=3, filters=4, outputs=5, free=1, tied=3)
    found = hatches(ax)
    assert found[schemes.OWN[1]] == 3  # the first conv's filter: a kernel for each input
    assert found[schemes.READS[1]] == 5 - 1  # the kernels that read its map, but for the filter that goes anyway
    assert found[schemes.TIED[1]] == 4 + 3  # a filter of the second conv and one of the projection
    assert len(squares(ax)) == 3 * 4 + 4 * 5 + 3 * 5 + 2 * 3 + 4 + 5
    tied = {patch.get_x() for patch in squares(ax) if patch.get_hatch() == schemes.TIED[1]}
    dotted = [patch.get_x() for patch in squares(ax) if patch.get_linestyle() == ":"]
    assert len(dotted) == 2  # a map between the convs and one of the sum
    (column,) = tied
    assert [x for x in dotted if x == pytest.approx(column + 0.02)]  # a frame is a little smaller than a kernel


def test_the_two_strategies_show_the_sums_and_frame_what_goes():
    first, second = [[3, 1], [2, 1]], [[4, 1, 3], [0, 5, 1]]
    sums = {"sum": [5, 2], "independent": [14, 16, 17], "greedy": [24, 21, 23]}
    ax = schemes.two_strategies(first, second, sums, {"sum": 1, "independent": 0, "greedy": 1})
    texts = {(text.get_position(), text.get_text()) for text in ax.texts}
    shown = Counter(text for _, text in texts if text.isdigit())
    assert shown == Counter(str(n) for row in (*first, *second, *sums.values()) for n in row)
    assert {"maps", "layer i", "layer i + 1"} <= {text for _, text in texts}
    framed = [t.get_text() for t in ax.texts if (box := t.get_bbox_patch()) and box.get_linewidth() == 2]
    assert framed == ["2", "14", "21"]
    assert hatches(ax) == {"": 2 + 3 + 2, schemes.OWN[1]: 2, schemes.READS[1]: 3}  # maps have no hatch
    rows = {y for (_, y), text in texts if text in ("independent", "14", "16", "17")}
    assert len(rows) == 1
