"""Paper beside ours: Table 1's errors, the choice of an epoch, and Table 3, on ledgers made up for the purpose."""

from pathlib import Path

import pandas as pd
import pytest

from prunekit.intervals import difference
from prunekit.ledger import Ledger
from prunekit.paper import table_three
from prunekit.paper.epochs import bias, choices
from prunekit.paper.jobs import Job
from prunekit.paper.settings import SETTINGS
from prunekit.paper.table_one import controls, errors, shown
from prunekit.paper.tables import TABLE1

KEY = ["network", "seed", "split", "epoch"]


def curve(test: list[int], validation: list[int], network: str = "net", seed: int = 0, **more) -> pd.DataFrame:
    """A row per split and epoch, epochs counted from 0; 100 images on test, 50 on validation."""
    counts = [("test", test, 100), ("validation", validation, 50)]
    return pd.DataFrame(
        {"network": network, "seed": seed, "split": split, "epoch": epoch, "correct": correct, "total": total} | more
        for split, seen, total in counts
        for epoch, correct in enumerate(seen)
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, setting="cifar10")


def put(ledger: Ledger, name: str, rows: pd.DataFrame, key: list[str] = KEY) -> None:
    with ledger.run(command="made up") as run:
        ledger.add(name, rows, key, run)


def final(ledger: Ledger, name: str, *correct: int, total: int = 10_000, network: str = "net") -> None:
    """Final rows of seeds 0, 1, ..., and rows on validation that must not count."""
    rows = [
        {"network": network, "seed": seed, "split": split, "correct": count, "total": total, "epochs": 4}
        for seed, right in enumerate(correct)
        for split, count in (("test", right), ("validation", 1))
    ]
    put(ledger, name, pd.DataFrame(rows), ["network", "seed", "split"])


def retrained(ledger: Ledger, name: str, *correct: int) -> None:
    """What an experiment leaves behind whose epochs do not matter here."""
    final(ledger, f"final-{name}", *correct)
    put(ledger, name, pd.concat([curve([0, 90], [0, 45], seed=seed) for seed in range(len(correct))]))


def test_three_epochs_to_report():
    found = choices(curve(test=[99, 90, 94, 93, 91], validation=[50, 40, 41, 45, 45])).iloc[0]
    assert (found["last"], found["best"], found["selected"]) == (91, 94, 93)
    assert (found["best_epoch"], found["selected_epoch"], found["epochs"], found["total"]) == (2, 3, 4, 100)


def test_each_network_of_a_table_chooses_for_itself():
    table = pd.concat([
        curve([0, 90, 80], [0, 1, 2]),
        curve([0, 70, 60], [0, 2, 1], seed=1),
    ])  # fmt: skip
    found = choices(table.sample(frac=1, random_state=0)).set_index("seed")
    assert found["best"].to_dict() == {0: 90, 1: 70} and found["selected"].to_dict() == {0: 80, 1: 70}
    cuts = pd.concat([curve([0, 90, 80], [0, 1, 2], rate=rate) for rate in (0.5, 0.9)])
    assert choices(cuts)["rate"].tolist() == [0.5, 0.9]


def test_layer_by_layer_only_the_last_step_can_be_chosen():
    table = curve([0, 99, 98, 80, 85], [0, 9, 9, 7, 6])
    table["step"] = (table["epoch"] > 2) + 1
    table["layer"] = "conv" + table["step"].astype(str)
    found = choices(table).iloc[0]
    assert (found["best"], found["selected"], found["epochs"]) == (85, 80, 2)


def test_bias_is_measured_on_every_table_that_was_counted_by_epoch(ledger):
    put(ledger, "retraining-vgg16-a", curve([0, 94, 93, 91], [0, 1, 3, 2]))
    put(ledger, "scratch-vgg16-a", curve([0, 94, 93], [0, 1, 2]))
    final(ledger, "final-retraining-vgg16-a", 9_000)
    found = bias(ledger).set_index("table")
    assert found["above_selected"].to_dict() == pytest.approx({"retraining-vgg16-a": 1.0, "scratch-vgg16-a": 1.0})
    assert found["above_last"].to_dict() == pytest.approx({"retraining-vgg16-a": 3.0, "scratch-vgg16-a": 1.0})
    assert found["epochs"].to_dict() == {"retraining-vgg16-a": 3, "scratch-vgg16-a": 2}


def test_errors_stand_beside_those_of_the_paper(ledger):
    final(ledger, "baseline-vgg16", 9_300)
    final(ledger, "final-retraining-vgg16-a", 9_310, 9_350)
    table = pd.concat([curve([0, 90, 96, 93], [0, 1, 2, 3]), curve([0, 90, 92, 94], [0, 3, 2, 1], seed=1)])
    put(ledger, "retraining-vgg16-a", table)
    found = errors(ledger).set_index("model")
    assert list(found.index) == [row.title for row in TABLE1]

    base, pruned = (found.loc[model].to_dict() for model in ("VGG-16", "VGG-16-A"))
    assert (base["paper"], base["last"], base["difference"]) == pytest.approx((6.75, 7.0, 0.25))
    assert pd.isna(base["best"]) and base["seeds"] == 1
    assert (pruned["last"], pruned["least"], pruned["most"]) == pytest.approx((6.7, 6.5, 6.9))
    assert (pruned["best"], pruned["selected"]) == pytest.approx((5.0, 8.5))
    expected = difference((9_340, 10_000), (9_330, 10_000))
    assert (pruned["low"], pruned["high"]) == pytest.approx([100 * end for end in expected])
    assert pruned["difference"] == pytest.approx(0.1) and pruned["seeds"] == 2 and pruned["note"] == ""


def test_the_difference_has_a_sign_and_an_interval_around_it(ledger):
    final(ledger, "baseline-resnet56", 9_000)
    row = errors(ledger).set_index("model").loc["ResNet-56"].to_dict()
    assert row["difference"] == pytest.approx(10 - 6.96) and 0 < row["low"] < row["difference"] < row["high"]


def test_other_images_than_the_papers_tell_no_difference(tmp_path):
    small = Ledger(tmp_path, setting="digits")
    final(small, "baseline-vgg16", 490, total=500)
    found = errors(small).set_index("model").to_dict("index")
    assert found["VGG-16"]["last"] == pytest.approx(2.0) and pd.isna(found["VGG-16"]["difference"])
    assert found["ResNet-56"]["note"] == "not run"


def test_what_was_not_run_says_so_with_its_hours(ledger):
    before = errors(ledger).set_index("model")["note"]
    assert before["ResNet-34-C"] == "not run on ImageNet here"
    assert before["VGG-16-A"].startswith("not run: about") and before["VGG-16-A"].endswith("h on two cores, as cifar10")
    final(ledger, "baseline-vgg16", 9_300, network="vgg16")
    path = Job("baseline-vgg16", ledger, SETTINGS["cifar10"], seed=0).weights("vgg16")
    path.parent.mkdir(parents=True)
    path.touch()
    after = errors(ledger).set_index("model")["note"]
    hours = [float(note["VGG-16-A"].split()[3]) for note in (before, after)]
    assert hours[1] < hours[0], "the baseline is there now"
    assert after["VGG-16"] == ""


def test_a_row_comes_from_the_first_setting_that_has_it(tmp_path):
    large, short = (Ledger(tmp_path, setting=name) for name in ("cifar10", "cifar10-short"))
    final(large, "baseline-vgg16", 9_300)
    final(short, "baseline-vgg16", 9_100)
    final(short, "baseline-resnet56", 9_200)
    found = errors((large, short)).set_index("model").to_dict("index")
    assert (found["VGG-16"]["last"], found["VGG-16"]["setting"]) == (pytest.approx(7.0), "cifar10")
    assert (found["ResNet-56"]["last"], found["ResNet-56"]["setting"]) == (pytest.approx(8.0), "cifar10-short")
    assert found["VGG-16-A"]["setting"] == "" and found["VGG-16-A"]["note"].endswith("as cifar10-short")


def test_ways_are_compared_within_one_setting(tmp_path):
    large, short = (Ledger(tmp_path, setting=name) for name in ("cifar10", "cifar10-short"))
    retrained(short, "retraining-vgg16-a", 9_000)
    retrained(short, "random-vgg16-a", 8_900)
    retrained(large, "scratch-vgg16-a", 9_300)
    found = controls((large, short)).set_index(["model", "way"]).loc["VGG-16-A"]
    assert found["setting"].tolist() == ["cifar10-short", "", "cifar10-short", "cifar10", ""]
    assert found["difference"].iloc[2] == pytest.approx(1.0) and pd.isna(found["difference"].iloc[3])


def test_other_ways_are_compared_with_the_papers(ledger):
    retrained(ledger, "retraining-resnet56-b", 9_300)
    retrained(ledger, "scratch-resnet56-b-compute", 9_250)
    found = controls(ledger).set_index(["model", "way"]).loc["ResNet-56-B"]
    assert len(found) == 5 and found["last"].notna().sum() == 2
    ours, compute = found.iloc[0], found.iloc[-1]
    assert ours["paper"] == 6.94 and pd.isna(ours["difference"])
    assert compute["difference"] == pytest.approx(0.5) and compute["low"] < 0.5 < compute["high"]
    assert compute["liu"] == 6.95 and pd.isna(compute["paper"])
    assert found.iloc[1]["note"].startswith("not run: about")


def test_ways_are_compared_on_the_seeds_that_all_have(ledger):
    retrained(ledger, "retraining-vgg16-a", 9_300, 9_500)
    retrained(ledger, "random-vgg16-a", 9_200)
    found = controls(ledger).set_index(["model", "way"]).loc["VGG-16-A"]
    first, other = found.iloc[0], found.iloc[2]
    assert first["last"] == pytest.approx(7.0) and first["seeds"] == 1
    assert other["last"] == pytest.approx(8.0) and other["difference"] == pytest.approx(1.0)
    both = errors(ledger).query("model == 'VGG-16-A'")
    assert both["last"].tolist() == [pytest.approx(6.0)] and both["seeds"].tolist() == [2], "nothing is compared: all"


def test_ways_that_have_no_seed_in_common_are_not_shown(ledger):
    retrained(ledger, "retraining-vgg16-a", 9_300)
    rows = pd.DataFrame(
        [{"network": "net", "seed": 1, "split": "test", "correct": 9_200, "total": 10_000, "epochs": 4}]
    )
    put(ledger, "final-random-vgg16-a", rows, ["network", "seed", "split"])
    put(ledger, "random-vgg16-a", curve([0, 90], [0, 45], seed=1))
    assert controls(ledger).query("model == 'VGG-16-A'")["last"].isna().all()


def test_a_smaller_network_in_the_place_of_the_papers_is_named(tmp_path):
    small = Ledger(tmp_path, setting="digits")
    final(small, "baseline-resnet56", 490, total=500)
    assert errors(small).set_index("model").loc["ResNet-56", "note"] == "here resnet20"


def test_the_share_of_time_stands_beside_the_share_of_multiply_adds(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEKIT_RESULTS", str(tmp_path))
    common = {"seed": 0, "pair": "vgg16-a", "device": "a CPU", "threads": 2}
    times = {"vgg16": (100, [2.0, 4.0, 3.0]), "vgg16-a": (60, [1.5, 1.0, 2.0])}
    rows = [
        common | {"network": network, "macs": macs, "repeat": repeat, "seconds": seconds}
        for network, (macs, each) in times.items()
        for repeat, seconds in enumerate(each)
    ]
    put(Ledger(setting="cifar10"), "wall-clock", pd.DataFrame(rows), ["network", "repeat"])
    (row,) = table_three.measured().to_dict("records")
    assert (row["setting"], row["device"], row["pair"]) == ("cifar10", "a CPU, 2 threads", "vgg16-a")
    assert (row["whole"], row["small"]) == (3.0, 1.5)
    assert (row["time_saved"], row["macs_saved"]) == pytest.approx((0.5, 0.4))
    assert (row["low"], row["high"]) == pytest.approx((0.0, 0.75))


def test_the_papers_table_three_has_its_pairs():
    found = table_three.printed().set_index("pair")
    assert list(found.index) == ["vgg16-a", "resnet56-b", "resnet110-b", "resnet34-b"]
    computed = 1 - found["small"] / found["whole"]
    assert (computed - found["time_saved"]).abs().max() < 0.005


def test_a_table_to_read_has_blanks_where_nothing_is_known():
    table = pd.DataFrame({"a": [1.0, None], "b": ["x", ""], "c": [3, 4], "d": [None, 0.126]})
    assert shown(table).to_dict("list") == {"a": ["1.00", ""], "b": ["x", ""], "c": [3, 4], "d": ["", "0.13"]}
