"""Claims: each predicate gives each verdict that it should, on ledgers made up for the purpose."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from prunekit import nets
from prunekit.errors import PrunekitError
from prunekit.ledger import Ledger
from prunekit.paper import claims, cost_claims
from prunekit.paper import sensitivity_claims as of_figure_2
from prunekit.paper.judging import VERDICTS, Part, Verdict, above, below, verdict_of

RATES = of_figure_2.RATES
TOTAL, BASE = 10_000, 9_000


def sweep(lost: dict[tuple[int, float], int], seed: int = 0, split: str = "test", total: int = TOTAL) -> list[dict]:
    """Rows of a sweep in which each cut loses as many images as `lost` says, none if it does not say."""
    base = BASE * total // TOTAL
    return [
        {
            "network": "vgg16", "seed": seed, "split": split, "layer": f"conv{n}", "number": n, "criterion": "l1",
            "rate": rate, "filters": 64, "kept": 12, "correct": base - lost.get((n, rate), 0), "total": total,
            "baseline_correct": base,
        }
        for n in range(1, 14)
        for rate in RATES
    ]  # fmt: skip


def ranking(spread: dict[int, float], seed: int = 0) -> list[dict]:
    """Norms that fall linearly from 1 to 1 - spread; 0.05 where it is not said."""
    return [
        {"network": "vgg16", "seed": seed, "layer": f"conv{n}", "number": n, "filter": i, "l1": float(norm)}
        for n in range(1, 14)
        for i, norm in enumerate(np.linspace(1, 1 - spread.get(n, 0.05), 64))
    ]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, setting="cifar10")


def judge(id: str, ledger: Ledger, sweeps: list[dict] = [], norms: list[dict] = []) -> Verdict:  # noqa: B006
    with ledger.run(command="made up") as run:
        ledger.add("sensitivity-vgg16", sweeps, ["seed", "split", "layer", "rate"], run)
        ledger.add("ranking-vgg16", norms, ["seed", "layer", "filter"], run)
    return claims.judge(id, ledger)


DEEP = [(n, 0.6) for n in range(8, 14)]


@pytest.mark.parametrize(
    "id, lost, verdict",
    [
        ("2b.1", {}, "holds"),
        ("2b.1", dict.fromkeys(DEEP, 500), "does not hold"),
        ("2b.1", {(9, 0.6): 500}, "holds in part"),
        ("2b.1", {(9, 0.6): 200}, "undecided"),
        ("2b.1", {(9, 0.7): 5000, (7, 0.6): 5000}, "holds"),
        ("2b.2", {}, "holds"),
        ("2b.2", {(1, 0.8): 900}, "holds in part"),
        ("2b.2", {(1, 0.8): 900, (1, 0.5): 600}, "does not hold"),
        ("2b.3", {(2, 0.8): 3000}, "holds"),
        ("2b.3", {(2, 0.8): 200}, "undecided"),
        ("2b.3", {}, "does not hold"),
        ("2b.4", {(2, 0.8): 3000, (1, 0.8): 100}, "holds"),
        ("2b.4", {(2, 0.8): 3000, (1, 0.8): 4000}, "does not hold"),
        ("2b.4", {(2, 0.8): 200, (1, 0.8): 190}, "undecided"),
        ("2b.5", {(3, 0.6): 1000}, "holds"),
        ("2b.5", {(3, 0.6): 300}, "undecided"),
        ("2b.5", {(3, 0.9): 8000}, "does not hold"),
    ],
)
def test_each_verdict_of_the_sweep(ledger, id, lost, verdict):
    found = judge(id, ledger, sweep(lost))
    assert found.verdict == verdict, found.numbers
    assert found.setting == "cifar10" and found.seeds == (0,)


def test_few_images_leave_it_undecided_where_many_decide(ledger, tmp_path):
    assert judge("2b.1", ledger, sweep({})).verdict == "holds"
    assert judge("2b.1", Ledger(tmp_path / "few"), sweep({}, total=360)).verdict == "undecided"


def test_seeds_count_one_by_one(ledger):
    found = judge("2b.3", ledger, sweep({(2, 0.8): 3000}) + sweep({}, seed=1))
    assert found.verdict == "holds in part" and found.seeds == (0, 1)
    assert "seed 0: conv 2 cut from 64 to 12 loses 30.00 points; seed 1:" in found.numbers


def test_validation_images_and_other_criteria_do_not_count(ledger):
    assert judge("2b.1", ledger, sweep({}, split="validation")).verdict == "not tested"
    others = [{**row, "criterion": "largest"} for row in sweep({})]
    assert judge("2b.1", Ledger(ledger.root, setting="digits"), others).verdict == "not tested"


def test_a_sweep_that_is_not_finished_is_not_judged(ledger):
    rows = [row for row in sweep({}) if (row["number"], row["rate"]) != (13, 0.6)]
    assert judge("2b.1", ledger, rows).verdict == "not tested"
    assert claims.judge("2b.2", ledger).verdict == "holds", "it needs conv 1 only"


def test_norm_curves(ledger, tmp_path):
    assert judge("2a.1", ledger, norms=ranking({5: 0.9})).verdict == "holds"
    assert judge("2a.1", Ledger(tmp_path / "flat"), norms=ranking({1: 0.9})).verdict == "does not hold"


STEEP = {n: 0.05 * n for n in range(1, 14)}


@pytest.mark.parametrize(
    "lost, verdict",
    [
        ({(n, 0.9): 100 * (14 - n) for n in range(1, 14)}, "holds"),
        ({(n, 0.9): 100 * n for n in range(1, 14)}, "does not hold"),
        ({(n, 0.9): 100 * (n % 5 == 1) for n in range(1, 14)}, "undecided"),
        ({}, "does not hold"),
    ],
)
def test_steep_layers_and_robust_layers(ledger, lost, verdict):
    found = judge("2a.2", ledger, sweep(lost), ranking(STEEP))
    assert found.verdict == verdict, found.numbers


def test_the_rank_correlation_agrees_with_scipy():
    random = np.random.default_rng(1)
    for _ in range(5):
        a, b = random.integers(0, 8, 13), random.normal(size=13)
        ours, chance = of_figure_2.rank_correlation(a.tolist(), b.tolist())
        statistic, pvalue = spearmanr(a, b, alternative="greater")
        assert ours == pytest.approx(statistic)
        assert chance == pytest.approx(pvalue, abs=0.02)


def test_an_untrained_network_is_as_flat_as_the_predicate_says():
    torch.manual_seed(0)
    model = nets.vgg16()
    means = []
    for number, layer in nets.numbered(model).items():
        norms = model.get_parameter(f"{layer}.weight").detach().abs().flatten(1).sum(1)
        means.append((number, (norms / norms.max()).mean().item()))
    deep = [mean for number, mean in means if number > 1]
    assert max(deep) - min(deep) < 0.05 < of_figure_2.SPREAD
    assert "within 0.05" in claims.CLAIMS["2a.1"].predicate


def test_equal_counts_can_meet_the_margin_and_half_of_it_could_not():
    equal = ((9000, TOTAL), (9000, TOTAL))
    high = of_figure_2.difference(*equal)[1]
    assert round(100 * high, 1) == 0.8, "the predicate says so"
    assert high < of_figure_2.MARGIN


def test_costs_are_judged_without_a_ledger(ledger):
    found = {id: claims.judge(id, ledger).verdict for id in claims.CLAIMS if id[0] == "1" or id == "2"}
    part = {"1.resnet56-b", "1.resnet110-b", "1.resnet34-a", "1.resnet34-c"}
    assert found == {id: "holds in part" if id in part else "holds" for id in found} and len(found) == 9
    assert not ledger.folder.exists()


def test_a_wrong_cost_would_not_hold(monkeypatch, ledger):
    wrong = cost_claims.table1().assign(steps=3)
    monkeypatch.setattr(cost_claims, "table1", lambda: wrong)
    assert claims.judge("1.vgg16-a", ledger).verdict == "does not hold"


@pytest.mark.parametrize(
    "parts, verdict",
    [
        ("", "not tested"), ("m", "holds"), ("mm", "holds"), ("n", "does not hold"), ("mn", "holds in part"),
        ("mnu", "holds in part"), ("nu", "does not hold"), ("mu", "undecided"), ("u", "undecided"),
    ],
)  # fmt: skip
def test_how_parts_make_a_verdict(parts, verdict):
    kinds = {"m": Part.MET, "n": Part.NOT_MET, "u": Part.UNCLEAR}
    assert verdict_of([kinds[p] for p in parts]) == verdict and verdict in VERDICTS


def test_intervals_and_limits():
    assert [below(i, 2) for i in ((0, 1), (3, 4), (1, 3))] == [Part.MET, Part.NOT_MET, Part.UNCLEAR]
    assert [above(i, 2) for i in ((0, 1), (3, 4), (1, 3))] == [Part.NOT_MET, Part.MET, Part.UNCLEAR]


def test_the_table_of_claims(ledger):
    table = claims.judged(ledger)
    assert list(table["id"]) == list(claims.CLAIMS) and table["id"].is_unique
    assert set(table["verdict"]) == {"holds", "holds in part", "not tested"}
    texts = pd.concat([table[c] for c in ("meaning", "place", "numbers", "predicate", "changes")])
    assert (texts.str.len() > 5).all()


def test_unknown_claims_and_verdicts_are_refused(ledger):
    with pytest.raises(PrunekitError, match=r"no claim '2b\.9'.*Did you mean"):
        claims.judge("2b.9", ledger)
    with pytest.raises(PrunekitError, match="no verdict"):
        Verdict("perhaps", "", "digits")
