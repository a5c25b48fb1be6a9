"""The command line: `prunekit`. Every command is a few calls of the library; `main` is the entry point of Python."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import nn
from typer.core import TyperGroup

from . import __version__, builders, costs, criteria, data, nets, options
from .errors import PrunekitError
from .files import save
from .ledger import Ledger
from .paper import arithmetic, claims, configurations, estimates, experiments, settings, together
from .paper.jobs import Job
from .paper.judging import summary
from .plans import plan
from .sensitivity import sweep as sweep_layers
from .surgery import prune as prune_filters
from .tracing import trace
from .train import fastest


class Commands(TyperGroup):
    """A refusal of the library is one sentence on stderr and exit code 1; anything else is a bug and shows as one."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PrunekitError as error:
            typer.echo(f"prunekit: {error}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SettingOption = Annotated[str, typer.Option(help=f"One of: {', '.join(settings.SETTINGS)}.")]
ResultsOption = Annotated[
    Path | None, typer.Option(help="Folder of the results; by default PRUNEKIT_RESULTS, or results/ of the project.")
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV, for other programs.")]
ModelArgument = Annotated[
    str, typer.Argument(help="package.module:function, path/to/file.py:function, or vgg16, resnet56, ...")
]
WeightsOption = Annotated[
    Path | None, typer.Option(help="Trained weights: .safetensors, or a state_dict saved by torch.save.")
]
InputOption = Annotated[str, typer.Option("--input", help="Shape of an input, batch first.")]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="digits, cifar10, or module:function that returns batches (x, y) that can be gone through again."
    ),
]
CriterionOption = Annotated[str, typer.Option(help="How to score filters; the lowest go first.")]
SeedOption = Annotated[int, typer.Option(help="Seed of whatever is drawn at random.")]


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Remove whole filters from PyTorch CNNs, exactly, and re-run the paper that proposed it.

    Your own network: `sweep` shows how much each layer can lose, `prune` makes it smaller.
    The paper: `list` what there is, `costs` for its tables, `reproduce` an experiment, `claims` for the verdicts.
    """
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command("list")
def list_() -> None:
    """List networks, configurations, criteria, experiments and settings, a line each."""
    sections = {
        "Networks": {name: _first_sentence(function.__doc__) for name, function in nets.NETWORKS.items()},
        "Configurations (the paper's pruned networks)": {
            name: f"{c.title}: {c.rule}" for name, c in configurations.CONFIGURATIONS.items()
        },
        "Criteria": {name: _criterion(name) for name in criteria.CRITERIA},
        "Experiments": {name: f"{e.title} ({e.figure})" for name, e in experiments.EXPERIMENTS.items()},
        "Settings": {name: setting.about for name, setting in settings.SETTINGS.items()},
    }
    widest = max(len(name) for lines in sections.values() for name in lines)
    for title, lines in sections.items():
        typer.echo(f"{title}:")
        for name, line in lines.items():
            typer.echo(f"  {name:<{widest + 2}}{line}")


@app.command("costs")
def costs_(csv: CsvOption = False) -> None:
    """Print Tables 1 and 2 of the paper, our counts beside the printed ones.

    One FLOP is a multiply-add of a conv or fully-connected layer; parameters are their weights.
    With --csv: exact counts, a row per network and a row per layer of VGG-16 and VGG-16-A.
    """
    if csv:
        typer.echo(arithmetic.exact().to_csv(index=False), nl=False)
        return
    typer.echo(arithmetic.report())


@app.command("claims")
def claims_(
    setting: Annotated[
        str,
        typer.Option(
            help="Whose results decide. largest: cifar10, or for claims without results there cifar10-short, as in the "
            f"book. Or only one of: {', '.join(settings.SETTINGS)}."
        ),
    ] = "largest",
    results: ResultsOption = None,
    csv: CsvOption = False,
) -> None:
    """Print the verdict on each claim of the paper, with the numbers and the setting behind it."""
    if results is not None and not results.is_dir():
        raise PrunekitError(f"There is no folder {results}: --results takes the one that `prunekit reproduce` made.")
    chosen = claims.full_size(results) if setting == "largest" else Ledger(results, settings.setting(setting).name)
    table = claims.judged(chosen)
    if csv:
        typer.echo(table.to_csv(index=False), nl=False)
        return
    for row in table.itertuples():
        typer.echo(f"{row.id}  {str(row.verdict).upper()}  {row.meaning} ({row.place})")
        typer.echo(f"    {row.numbers} [{row.setting}{f', seeds {row.seeds}' if row.seeds else ''}]")
    typer.echo(summary(table["verdict"].tolist()))


@app.command()
def reproduce(
    experiment: Annotated[
        list[str], typer.Argument(help="Experiments of `prunekit list`; all; or live, the few that the book runs.")
    ],
    setting: SettingOption = "digits",
    results: ResultsOption = None,
    seed: SeedOption = 0,
    limit: Annotated[str | None, typer.Option("--for", help="Stop after this long: 90s, 45m, 2h, 1h30m.")] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what is left to do, and how long it takes on this machine.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(help="K/N: do only the K-th of N shares of the parts, for N machines at once.")
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, help="Do so many parts at the same time: one alone leaves most of a GPU idle.")
    ] = 1,
) -> None:
    """Run experiments of the paper and add their rows, with their origin, to the results.

    It can be stopped at any moment, by --for, Ctrl-C or a power cut; the same command goes on where it stopped.
    Trained weights go to weights/ beside a folder of results that is called results, and inside one of another name. A
    network that there are results of is not trained anew where its weights are lacking: another machine would make
    another one.
    With "all" and --for it first times a few steps and says what each experiment will cost, in the order in which a
    reader gains most. With --shard, train the baselines first and give all machines the folder weights/; bring the
    results together with `prunekit merge`.
    """
    begun = time.monotonic()
    allowed, divided = None if limit is None else options.seconds(limit), options.share(shard)  # wrong usage first
    chosen = [each for name in experiment for each in experiments.selected(name)]
    ledger, here = Ledger(results, settings.setting(setting).name), settings.setting(setting)
    work = estimates.divided([(each, Job(each.name, ledger, here, seed)) for each in chosen], divided)
    with options.stopping_after(allowed):
        if estimate or (limit is not None and "all" in experiment):
            for line in estimates.forecast(work, here):
                typer.echo(line)
        if estimate:
            return
        if at_once > 1:
            work = [(each, replace(job, progress=False), parts) for each, job, parts in work]  # their bars would mix
            failed = []
            for piece, error in together.at_once(work, at_once):
                about = " ".join(str(value) for value in piece.part.mark.values())
                ended = "" if error is None else f" FAILED: {error}"
                typer.echo(f"{time.monotonic() - begun:7.0f} s  {piece.experiment.name}: {about}{ended}")
                failed += [] if error is None else [error]
            if failed:
                raise failed[0]
            return
        for each, job, parts in work:
            started = time.monotonic()
            typer.echo(f"{each.name}: {each.title} ({each.figure})")
            for part in parts:
                part.code(job)
            rows = len(ledger.table(each.name)) if each.name in ledger.experiments() else 0
            typer.echo(f"  {rows} rows in {ledger.folder / each.name}.csv, {time.monotonic() - started:.0f} s")


@app.command()
def merge(
    folder: Annotated[list[Path], typer.Argument(help="Folders of results from other machines.")],
    results: ResultsOption = None,
) -> None:
    """Take the rows of other folders of results into one, with their origin; a row that differs is refused."""
    for other in folder:
        theirs = [Ledger(other, name) for name in settings.SETTINGS]
        if not any(ledger.folder.is_dir() for ledger in theirs):
            raise PrunekitError(f"There are no results of {', '.join(settings.SETTINGS)} in {other}.")
        for ledger in theirs:
            if ledger.folder.is_dir():
                typer.echo(f"{Ledger(results, ledger.setting).merge(ledger)} rows of {ledger.setting} from {other}")


@app.command()
def sweep(
    model: ModelArgument,
    data: DataOption = None,
    weights: WeightsOption = None,
    input: InputOption = "1,3,32,32",
    rate: Annotated[
        list[float] | None,
        typer.Option(help="Share of filters to remove; repeat. Default 0.1 ... 0.9, as far as a filter is left."),
    ] = None,
    criterion: CriterionOption = "l1",
    layer: Annotated[list[str] | None, typer.Option(help="Layer or pattern; repeat. By default all that can.")] = None,
    split: Annotated[
        str, typer.Option(help="Images of digits or cifar10 to count on: validation to choose rates, test to report.")
    ] = "validation",
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option(help="Write the table here too, as CSV.")] = None,
    csv: CsvOption = False,
) -> None:
    """Prune each layer of a network alone, at several rates, without retraining, and count what is still right.

    Example: prunekit sweep mynet.py:build --weights mynet.safetensors --data mydata.py:batches
    """
    if data is None:
        raise typer.BadParameter(
            "say on which images to count: digits, cifar10 or module:function", param_hint="--data"
        )
    network, _ = _network(model, weights)
    images = _batches(data, split)
    example = torch.zeros(options.shape(input))
    table = sweep_layers(
        network.float(), images, example, rate or None, criterion, layer, data=images, seed=seed, compute=fastest()
    )
    if out is not None:
        _written(out, table)
    if csv:
        typer.echo(table.to_csv(index=False), nl=False)
        return
    share = (100 * table["correct"] / table["total"]).round(1)
    base, n = int(table["baseline_correct"].iloc[0]), int(table["total"].iloc[0])
    typer.echo(f"{base} of {n} right ({100 * base / n:.1f}%) before pruning; % right, by layer and share removed:")
    typer.echo(
        table.assign(right=share)
        .pivot(index="layer", columns="rate", values="right")
        .loc[table["layer"].unique()]
        .to_string(na_rep="")
    )


@app.command()
def prune(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="File for the smaller network, .safetensors.")],
    rate: Annotated[list[str] | None, typer.Option(help="LAYER=SHARE to remove, or one SHARE for all; repeat.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="LAYER=COUNT of filters that stay; repeat.")] = None,
    weights: WeightsOption = None,
    input: InputOption = "1,3,32,32",
    criterion: CriterionOption = "l1",
    strategy: Annotated[
        str, typer.Option(help="independent, or greedy: scores leave out kernels over maps that are gone.")
    ] = "independent",
    data: DataOption = None,
    seed: SeedOption = 0,
) -> None:
    """Remove filters from a network and write the smaller one.

    Example: prunekit prune mynet.py:build --weights mynet.pt --input 1,3,224,224 --rate "layer1.*.conv1=0.5"
    --out small.safetensors. In Python, `prunekit.load("small.safetensors", build)` brings it back.
    """
    if not rate and not keep:
        raise PrunekitError("Nothing to do: give --rate or --keep for at least one layer that can lose filters.")
    network, before = _network(model, weights)
    x = torch.zeros(options.shape(input), dtype=next((p.dtype for p in network.parameters()), torch.float32))
    rates = options.pairs(rate or [], float, "--rate")
    everywhere = rates.pop("", None)
    if everywhere is not None and rates:
        raise typer.BadParameter("give one share for all layers or shares by layer, not both", param_hint="--rate")
    images = None if data is None else _batches(data, "train")
    counts = options.pairs(keep or [], int, "--keep")
    if "" in counts:
        raise typer.BadParameter("write LAYER=COUNT", param_hint="--keep")
    made = plan(
        trace(network, x), everywhere if everywhere is not None else rates, keep=counts, criterion=criterion,
        strategy=strategy, data=images, seed=seed,
    )  # fmt: skip
    small = prune_filters(network, made)
    save(small, [*before, made], out)
    typer.echo(str(made))
    table = costs.compared(costs.total(network, x), costs.total(small, x))
    typer.echo(table.assign(pruned=[f"{100 * share:.1f}%" for share in table["pruned"]]).to_string(index=False))
    typer.echo(f'Written to {out}. In Python: prunekit.load("{out}", build), with the same function that built it.')


def _network(reference: str, weights: Path | None) -> tuple[nn.Module, list]:
    build = builders.builder(reference)
    return (build(), []) if weights is None else builders.filled(build, weights)


def _batches(reference: str, split: str) -> Any:
    if split not in ("train", "validation", "test"):
        raise typer.BadParameter(f"{split!r} is none of train, validation, test", param_hint="--split")
    if ":" in reference:
        return builders.called(builders.named(reference), reference)
    return data.Batches(getattr(data.load(reference), split))


def _written(path: Path, table: pd.DataFrame) -> None:
    try:
        table.to_csv(path, index=False)
    except OSError as error:
        raise PrunekitError(f"{path} cannot be written: {error.strerror or error}.") from error


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").split()).partition(". ")[0].removesuffix(".")


def _criterion(name: str) -> str:
    """What a criterion does, in a line."""
    if name == "random":
        return _summary(criteria.random.__doc__)
    found = criteria.resolve(name)
    if isinstance(found, criteria.Activation):
        return f"{found.combine} over images of: {_summary(found.per_image.__doc__)}"
    return _summary(found.__doc__)


def _summary(text: str | None) -> str:
    return _first_sentence(text).partition(":")[0]
