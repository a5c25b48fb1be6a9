"""Table 1's errors: the paper's beside ours beside those of Liu et al.; and other ways to the same pruned shapes."""

from collections.abc import Collection

import pandas as pd

from ..intervals import difference
from ..ledger import Ledger
from .claims import FULL_SIZE, Ledgers
from .configurations import CONFIGURATIONS
from .epochs import choices
from .estimates import cheapest
from .experiments import EXPERIMENTS
from .reading import Count, mean, on_test
from .retraining_claims import CONTROLLED
from .settings import SETTINGS
from .tables import TABLE1, Row1

PAPER_IMAGES = 10_000  # of CIFAR-10's test set, on which the paper counts
WAYS = {  # to a pruned shape, by what stands before its name in an experiment's, and behind it
    ("retraining", ""): "smallest filters removed, retrained",
    ("schedule", ""): "the same, retrained on a schedule",
    ("random", ""): "random filters removed, retrained",
    ("scratch", ""): "fresh weights, the baseline's epochs",
    ("scratch", "-compute"): "fresh weights, the baseline's compute",
}
# Accuracy in %, the mean of several runs, by experiment. Liu et al. (2019), "Rethinking the Value of Network Pruning".
LIU = {
    "baseline-resnet56": 93.14,
    "scratch-resnet56-b": 92.54,
    "scratch-resnet56-b-compute": 93.05,
    "baseline-resnet110": 93.14,
    "scratch-resnet110-b": 92.89,
    "scratch-resnet110-b-compute": 93.60,
    "baseline-resnet34": 73.31,
    "retraining-resnet34-a": 72.56,
    "retraining-resnet34-b": 72.29,
}


def errors(ledgers: Ledgers) -> pd.DataFrame:
    """A row per row of Table 1, errors in % and differences in points; of several ledgers see `where`.

    Columns: model; `paper`, the best epoch on test; ours after the `last` epoch, in the `best` epoch on test and in the
    one `selected` on validation; `difference` of last from paper, with the ends of its 95% interval, `low` and `high`;
    `seeds`, how many, and the `least` and `most` of last among them; `setting`; `liu`, the same row in Liu et al.;
    `note`, why a row is empty, or which network takes the place. Ours is the mean over seeds. A baseline's test images
    are counted once, after its last epoch. On other images than the paper's there is no difference to tell.
    """
    rows = []
    for row in TABLE1:
        name = experiment_of(row)
        ledger = where(ledgers, name)
        found, here = ours(ledger, name), SETTINGS[ledger.setting]
        if found and here.data == "cifar10":
            right = round(PAPER_IMAGES * (1 - row.error / 100))
            found |= compared(mean(list(finals(ledger, name).values())), (right, PAPER_IMAGES))
        called = here.called(row.name)
        note = why(ledgers, name) if not found else "" if called == row.name else f"here {called}"
        about = {"model": row.title, "paper": row.error, "liu": liu(name), "note": note}
        rows.append(about | {"setting": ledger.setting if found else ""} | found)
    columns = ["model", "paper", "last", "difference", "low", "high", "best", "selected", "seeds", "least", "most"]
    return filled(rows, [*columns, "setting", "liu", "note"])


def controls(ledgers: Ledgers) -> pd.DataFrame:
    """Other ways to the pruned shapes that Table 1 trains from scratch, too: a row per shape and way.

    Columns as in `errors`, but `difference` is from the first way, which is the paper's, in the same setting; and
    `way`, `epochs`. Of a shape only those seeds count that all ways have for which there are rows in the setting.
    """
    rows = []
    for name in CONTROLLED:
        ways = {f"{before}-{name}{behind}": way for (before, behind), way in WAYS.items()}
        for experiment, way in ways.items():
            ledger = where(ledgers, experiment)
            each = {other: counts for other in ways if (counts := finals(ledger, other))}
            shared = set.intersection(*map(set, each.values())) if each else set()
            found = ours(ledger, experiment, shared)
            first = each.get(f"retraining-{name}")
            if found and first and not experiment.startswith("retraining-"):
                found |= compared(
                    *(mean([some[seed] for seed in sorted(shared)]) for some in (each[experiment], first))
                )
            about = {"model": SETTINGS[ledger.setting].configuration(name).title, "way": way}
            beside = {"paper": printed(experiment), "liu": liu(experiment)}
            of = {"setting": ledger.setting, "note": ""} if found else {"setting": "", "note": why(ledgers, experiment)}
            rows.append(about | beside | of | found)
    columns = ["model", "way", "epochs", "paper", "last", "difference", "low", "high", "best", "selected", "seeds"]
    return filled(rows, [*columns, "setting", "liu", "note"])


def where(ledgers: Ledgers, experiment: str) -> Ledger:
    """The first of the ledgers that has rows of an experiment; where none has, the last."""
    each = [ledgers] if isinstance(ledgers, Ledger) else ledgers
    return next((ledger for ledger in each if finals(ledger, experiment)), each[-1])


def filled(rows: list[dict], columns: list[str]) -> pd.DataFrame:
    """The rows as a table; counts that are lacking are 0."""
    table = pd.DataFrame(rows, columns=columns)
    integers = [column for column in ("seeds", "epochs") if column in table]
    return table.fillna(dict.fromkeys(integers, 0)).astype(dict.fromkeys(integers, int))


def experiment_of(row: Row1) -> str:
    """The experiment behind a row of Table 1."""
    kind = "scratch" if row.scratch else "retraining" if row.name in CONFIGURATIONS else "baseline"
    return f"{kind}-{row.name}"


def printed(experiment: str) -> float | None:
    """The error that Table 1 prints for an experiment, if it does."""
    return {experiment_of(row): row.error for row in TABLE1}.get(experiment)


def liu(experiment: str) -> float | None:
    """The error that Liu et al. print for an experiment, if they do."""
    return round(100 - LIU[experiment], 2) if experiment in LIU else None


def finals(ledger: Ledger, experiment: str) -> dict[int, Count]:
    """By seed, (correct, total) on test of the network after its last epoch, in float32 on the weights that are stored;
    empty if the experiment was not run."""
    final = experiment if experiment.startswith("baseline-") else f"final-{experiment}"
    if final not in ledger.experiments():
        return {}
    rows = on_test(ledger.table(final))
    return dict(zip(rows["seed"], zip(rows["correct"], rows["total"], strict=True), strict=True))


def ours(ledger: Ledger, experiment: str, seeds: Collection[int] | None = None) -> dict:
    """Our errors of an experiment, the range of last over seeds, and how many there are; empty if it was not run.

    With `seeds`, only those count.
    """
    each = [error(*count) for seed, count in finals(ledger, experiment).items() if seeds is None or seed in seeds]
    if not each:
        return {}
    found = {"last": sum(each) / len(each), "least": min(each), "most": max(each), "seeds": len(each)}
    if not experiment.startswith("baseline-"):
        chosen = choices(ledger.table(experiment))
        chosen = chosen if seeds is None else chosen[chosen["seed"].isin(seeds)]
        found |= {which: error(chosen[which], chosen["total"]).mean() for which in ("best", "selected")}
        found["epochs"] = chosen["epochs"].max()
    return found


def compared(ours: Count, other: Count) -> dict[str, float]:
    """By how many points the error of `ours` is above that of the other, and the 95% interval of that."""
    low, high = difference(other, ours)
    return {"difference": error(*ours) - error(*other), "low": 100 * low, "high": 100 * high}


def error(correct, total):
    """The share of images that are wrong, in %: of counts, or of columns of them."""
    return 100 * (1 - correct / total)


def why(ledgers: Ledgers, experiment: str) -> str:
    """Why there are no rows of an experiment, and how long it would take, in the full-size setting that takes least."""
    if experiment not in EXPERIMENTS:
        return "not run on ImageNet here"
    each = [ledgers] if isinstance(ledgers, Ledger) else ledgers
    large = [ledger for ledger in each if ledger.setting in FULL_SIZE]
    return f"not run: {cheapest([experiment], large)}" if large else "not run"


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """A table to read: numbers with two decimals, counts as they are, nothing where nothing is known."""
    return table.apply(lambda column: column.map(_text) if column.dtype.kind in ("f", "O") else column)


def _text(cell: object) -> str:
    if cell is None or cell != cell:
        return ""
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)
