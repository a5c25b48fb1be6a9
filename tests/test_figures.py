"""Figures show the table that they were given: the plotted data is compared, not the pixels."""

import matplotlib
import pandas as pd
import pytest
import torch

from prunekit import figures

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")


def sweep_table() -> pd.DataFrame:
    rows = [
        {"number": number, "rate": rate, "filters": 10 * number, "correct": 100 - int(50 * rate) - number, "total": 200,
         "baseline_correct": 120}
        for number in (1, 2, 3) for rate in (0.5, 0.1, 0.9)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_sensitivity_plots_each_layer_from_the_unpruned_network_on():
    table = sweep_table()
    ax = figures.sensitivity(table)
    lines = {line.get_label(): line for line in ax.get_lines()}
    for number in (1, 2, 3):
        x, y = lines[f"conv {number}, {10 * number} filters"].get_data()
        rows = table[table["number"] == number].sort_values("rate")
        assert list(x) == [0, *rows["rate"]]
        assert list(y) == [120 / 200, *(rows["correct"] / 200)]


def test_ranking_is_sorted_and_relative_to_the_largest():
    table = pd.DataFrame({"number": [1, 1, 1, 1, 2, 2], "l1": [2.0, 8.0, 4.0, 6.0, 3.0, 1.0]})
    first, second = figures.ranking(table).get_lines()
    assert first.get_ydata().tolist() == [1, 0.75, 0.5, 0.25] and first.get_xdata().tolist() == [0, 0.25, 0.5, 0.75]
    assert second.get_ydata().tolist() == pytest.approx([1, 1 / 3])


def test_layers_of_a_stage_share_a_color_and_differ_in_dash():
    placed = figures.stages([1, 2, 3, 5, 6, 7], figures.VGG16_STAGE_ENDS)
    assert placed == {1: (0, 0), 2: (0, 1), 3: (1, 0), 5: (2, 0), 6: (2, 1), 7: (2, 2)}
    a, b, c = figures.ranking(pd.DataFrame({"number": [1, 2, 3], "l1": [1.0, 1.0, 1.0]})).get_lines()
    assert a.get_color() == b.get_color() != c.get_color() and a.get_linestyle() != b.get_linestyle()


def test_no_two_layers_of_vgg16_look_alike():
    ax = figures.sensitivity(pd.DataFrame([
        {"number": n, "rate": 0.5, "filters": 1, "correct": 1, "total": 2, "baseline_correct": 1} for n in range(1, 14)
    ]))  # fmt: skip
    looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in ax.get_lines()]
    assert len(set(looks)) == len(looks)


def test_filters_come_largest_first_on_one_scale_with_grey_for_zero():
    weight = torch.zeros(3, 3, 2, 2)
    weight[1], weight[2, 0] = 1.0, -0.5
    sheet = figures.filters(weight, torch.tensor([0.0, 12.0, 2.0]), columns=3).get_images()[0].get_array()
    assert sheet.shape == (2, 8, 3)
    assert (sheet[:, 0:2] == 1).all()  # filter 1: the largest weight of all is white
    assert sheet[0, 3].tolist() == [0.25, 0.5, 0.5]  # filter 2: less red than grey
    assert (sheet[:, 6:8] == 0.5).all()  # filter 0: zero is grey


def test_history_shows_what_was_watched_and_nothing_else():
    table = pd.DataFrame(
        {"epoch": [1, 2], "train_accuracy": [0.5, 0.7], "test_correct": [6, 8], "test_total": [10, 10]}
    )
    training, test = figures.history(table).get_lines()
    assert training.get_ydata().tolist() == [0.5, 0.7] and test.get_ydata().tolist() == [0.6, 0.8]


def test_the_kernel_matrix_marks_a_column_a_map_and_a_row():
    ax = figures.kernel_matrix(inputs=3, filters=6, following=5, removed=[2])
    hatched = [patch for patch in ax.patches if patch.get_hatch()]
    assert len(hatched) == 3 + 5  # the filter's kernels, and one kernel of each following filter
    assert len(ax.patches) == 3 * 6 + 6 * 5 + 6


def test_images_carry_their_labels():
    axes = figures.images(torch.zeros(3, 3, 4, 4, dtype=torch.uint8), ["a", "b", "c"], columns=2).figure.axes
    assert [ax.get_title() for ax in axes] == ["a", "b", "c", ""]
