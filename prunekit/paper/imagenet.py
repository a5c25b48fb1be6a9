"""ResNet-34 on ImageNet: figure 7 and Table 1's rows, on one process or, under torchrun, on many.

    torchrun --nproc-per-node 8 -m prunekit.paper.imagenet FOLDER --results RESULTS

FOLDER holds `train` and `val`, a folder of images per class. The network is torchvision's, with its weights. It was not
run on ImageNet here; the tests run it on small images with two processes on a CPU.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD
from torch.utils.data import DataLoader, DistributedSampler, Subset

from .. import nets
from ..data import imagenet
from ..errors import TrainingError
from ..files import digest, stored
from ..ledger import Ledger
from ..plans import plan
from ..recipes import Recipe
from ..sensitivity import sweep
from ..surgery import prune
from ..tracing import trace
from ..train import Compute, evaluate, fastest
from ..writing import replacing
from .configurations import configuration
from .cutting_experiments import first_convs
from .shortcut_experiments import FIRST, SECOND

NETWORK, SPLIT = "resnet34", "test"  # ImageNet's validation images are what the paper reports
VARIANTS = ("resnet34-a", "resnet34-b", "resnet34-c")
# The layer that chooses for a stage's second convs; stage 1 has no projection, so there it is the stem.
SHORTCUTS = ["conv1", *(f"layer{stage}.0.downsample.0" for stage in (2, 3, 4))]
RETRAINING = Recipe("imagenet-retraining", epochs=20, learning_rate=0.001, batch_size=256)


@dataclass(frozen=True)
class Crew:
    """The processes that work together: which one this is, how many there are, and what it computes on."""

    rank: int
    size: int
    compute: Compute

    def summed(self, *counts: int) -> list[int]:
        """Each of `counts` summed over all processes."""
        total = torch.tensor(counts, dtype=torch.int64, device=self.compute.device)
        if self.size > 1:
            distributed.all_reduce(total)
        return total.tolist()

    def share(self, loader: DataLoader, batch: int) -> DataLoader:
        """Batches of every `size`-th image, each image in one process only, in their order."""
        images = Subset(loader.dataset, range(self.rank, len(loader.dataset), self.size))  # type: ignore[arg-type]
        return DataLoader(images, batch, num_workers=loader.num_workers)


@contextmanager
def crew() -> Iterator[Crew]:
    """This process among those that torchrun started; alone without torchrun."""
    compute = fastest()
    if "RANK" not in os.environ:
        yield Crew(0, 1, compute)
        return
    if compute.device == "cuda":
        compute = replace(compute, device=f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(compute.device)
    distributed.init_process_group("nccl" if compute.device.startswith("cuda") else "gloo")
    try:
        yield Crew(distributed.get_rank(), distributed.get_world_size(), compute)
    finally:
        distributed.destroy_process_group()


def figure7(model: nn.Module, val: DataLoader, example: Tensor, batch: int, crew: Crew) -> pd.DataFrame:
    """First convs alone, and each stage's second convs with its shortcut: a row per part, layer and rate.

    Each process counts on its share of the images; the sums are the same in all of them.
    """
    numbers = {layer: number for number, layer in nets.numbered(model).items()}
    tables = []
    for part, layers in ((FIRST, first_convs(model)), (SECOND, SHORTCUTS)):
        compute = replace(crew.compute, dtype=torch.float32)
        table = sweep(model, crew.share(val, batch), example, layers=layers, compute=compute, progress=False)
        total, base, *correct = crew.summed(
            int(table["total"].iloc[0]), int(table["baseline_correct"].iloc[0]), *map(int, table["correct"])
        )
        table = table.assign(correct=correct, total=total, baseline_correct=base, part=part)
        table.insert(1, "number", [numbers.get(str(layer), 0) for layer in table["layer"]])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def counted(model: nn.Module, val: DataLoader, batch: int, crew: Crew) -> dict[str, int]:
    """Correct answers and images over all processes."""
    score = evaluate(model, crew.share(val, batch), crew.compute)
    correct, total = crew.summed(score.correct, score.total)
    return {"correct": correct, "total": total}


def retrain(
    model: nn.Module, train: DataLoader, val: DataLoader, recipe: Recipe, checkpoint: Path, seed: int, crew: Crew
) -> list[dict[str, int]]:
    """Train `model` in place on all processes together; a row per epoch from 0: epoch, correct, total.

    `recipe.batch_size` images make a step, divided among the processes. After each epoch everything is in the file
    `checkpoint`, from which a call goes on. Raises `TrainingError` for a checkpoint of another run.
    """
    local, start = recipe.batch_size // crew.size, 0
    if recipe.batch_size % crew.size:
        raise TrainingError(f"{recipe.batch_size} images of a step cannot be divided among {crew.size} processes.")
    images: Any = train.dataset
    identity = {"recipe": str(asdict(recipe)), "seed": seed, "start": digest(stored(model)), "images": len(images)}
    crew.compute.place(model)
    device = None if crew.compute.device == "cpu" else [torch.device(crew.compute.device)]
    spread = DistributedDataParallel(model, device_ids=device) if crew.size > 1 else model
    optimizer = SGD(
        model.parameters(), recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=crew.compute.device, weights_only=True)
        if state["identity"] != identity:
            raise TrainingError(f"The checkpoint {checkpoint} is another run's. Remove it to start again.")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        rows, start = state["rows"], len(state["rows"])
    else:
        rows = [{"epoch": 0} | counted(model, val, local, crew)]
    sampler = DistributedSampler(images, crew.size, crew.rank, seed=seed, drop_last=True)
    batches = DataLoader(images, local, sampler=sampler, num_workers=train.num_workers, drop_last=True)
    for epoch in range(max(start, 1), recipe.epochs + 1):
        sampler.set_epoch(epoch)
        torch.manual_seed(1000 * seed + epoch + 1_000_000 * crew.rank)  # each process augments differently
        spread.train()
        for x, y in batches:
            with crew.compute.autocast():
                logits = spread(crew.compute.batch(x))
            loss = F.cross_entropy(logits.float(), y.to(crew.compute.device))
            if not torch.isfinite(loss):
                raise TrainingError(f"The loss is not finite any more in epoch {epoch}: take a smaller learning rate.")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        rows.append({"epoch": epoch} | counted(model, val, local, crew))
        if crew.rank == 0:
            state = {"identity": identity, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            with replacing(checkpoint) as partial:
                torch.save(state | {"rows": rows}, partial)
    return rows


def network(weights: Path | None, classes: int) -> nn.Module:
    """ResNet-34 with torchvision's weights, which are downloaded, or with those of a file that holds a state_dict."""
    from .._torchvision import torchvision

    if weights is None:
        return torchvision.models.resnet34(weights="IMAGENET1K_V1")
    model = nets.resnet34(num_classes=classes)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train and val, one folder of images per class.")],
    results: Annotated[Path, typer.Option(help="Folder of the results; rows go to its folder imagenet.")],
    weights: Annotated[Path | None, typer.Option(help="A state_dict; by default torchvision's is downloaded.")] = None,
    variant: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(VARIANTS)}; by default all.")] = None,
    epochs: int = RETRAINING.epochs,
    batch: Annotated[int, typer.Option(help="Images of a step, over all processes.")] = RETRAINING.batch_size,
    size: Annotated[int, typer.Option(help="Pixels of an image's side.")] = 224,
    workers: Annotated[int, typer.Option(help="Processes that load images, for each process that trains.")] = 4,
    seed: int = 0,
) -> None:
    """Figure 7, then Table 1's rows of ResNet-34: pruned, retrained, counted after each epoch."""
    with crew() as all_of_us:
        train, val = imagenet(folder, batch, size, workers)
        model = network(weights, len(val.dataset.classes))
        example, ledger = torch.zeros(1, 3, size, size), Ledger(results, "imagenet")
        recipe = replace(RETRAINING, epochs=epochs, batch_size=batch)
        mark = {"network": NETWORK, "seed": seed, "split": SPLIT}
        table = f"projections-{NETWORK}"
        if ledger.missing(table, [mark]):
            rows = figure7(model, val, example, batch, all_of_us).assign(**mark)
            write(ledger, table, rows, ["part", "layer", "criterion", "rate"], model, seed, all_of_us)
        for name in variant or VARIANTS:
            mark = {"network": configuration(name).name, "seed": seed, "split": SPLIT}
            if not ledger.missing(f"retraining-{name}", [mark]):
                continue
            small = prune(model, plan(trace(model, example), configuration(name).rates(model)))
            checkpoint = results.parent / "checkpoints" / "imagenet" / f"{name}-seed{seed}.pt"
            found = retrain(small, train, val, recipe, checkpoint, seed, all_of_us)
            rows = pd.DataFrame(found).assign(**mark, recipe=recipe.name)
            write(ledger, f"retraining-{name}", rows, ["epoch"], small, seed, all_of_us)


def write(
    ledger: Ledger, table: str, rows: pd.DataFrame, key: list[str], model: nn.Module, seed: int, crew: Crew
) -> None:
    """Add the rows, in the first process only; the others wait, so that all see the same ledger afterwards."""
    if crew.rank == 0:
        command = f"torchrun -m prunekit.paper.imagenet --seed {seed}"
        with ledger.run(command, seed, model, crew.compute.device) as run:
            ledger.add(table, rows, ["network", "seed", "split", *key], run)
    if crew.size > 1:
        distributed.barrier()


if __name__ == "__main__":
    typer.run(main)
