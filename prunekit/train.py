"""Train and evaluate: SGD by a recipe, resumable after each epoch, in the number format that the machine likes best."""

import itertools
import json
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD
from tqdm import tqdm

from .capturing import Captured
from .data import Batches, Data
from .errors import PrunekitError, TrainingError
from .modes import evaluating
from .recipes import Recipe, learning_rates
from .turns import aside, go_on, turn
from .writing import replacing

PAUSE = 10.0  # seconds between checkpoints on a GPU, which trains for less than that in an epoch


@dataclass(frozen=True)
class Compute:
    """Where and in what number format to compute. bfloat16 and float16 mean autocast: weights stay float32."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    channels_last: bool = False

    @staticmethod
    def of(model: nn.Module) -> "Compute":
        """Where `model` is, in its number format."""
        first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
        return Compute(str(first.device), first.dtype)

    def place(self, model: nn.Module) -> nn.Module:
        """Move `model` (in place) to the device and memory layout; returned for convenience."""
        for tensor in (*model.parameters(), *model.buffers()):
            if self.channels_last and tensor.dim() == 4:
                tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
        return model.to(self.device)

    def batch(self, x: Tensor) -> Tensor:
        """A batch of images (n, C, H, W) as a model placed here wants it."""
        x = x.to(self.device, x.dtype if self.mixed else self.dtype)
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last and x.dim() == 4 else x

    def autocast(self) -> AbstractContextManager:
        """The context in which forward passes run."""
        return torch.autocast(torch.device(self.device).type, self.dtype, enabled=self.mixed)

    @property
    def mixed(self) -> bool:
        return self.dtype in (torch.bfloat16, torch.float16)


def fastest() -> Compute:
    """What is fast on this machine: a GPU or a CPU with bfloat16 arithmetic uses it, any other CPU float32."""
    if torch.cuda.is_available():
        return Compute("cuda", torch.bfloat16, channels_last=True)
    bf16 = torch.cpu._is_avx512_bf16_supported() if hasattr(torch.cpu, "_is_avx512_bf16_supported") else False
    return Compute("cpu", torch.bfloat16 if bf16 else torch.float32, channels_last=True)


class Score(NamedTuple):
    """How many of `total` images were classified correctly, and the mean cross-entropy."""

    correct: int
    total: int
    loss: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.total


class Tally:
    """Counts right answers of `model` and adds up its loss, on the device, until the end of a count."""

    def __init__(self, model: nn.Module, compute: Compute):
        self.model, self.compute = model, compute
        self.correct = torch.zeros((), dtype=torch.long, device=compute.device)
        self.loss = torch.zeros((), device=compute.device)
        self.add = Captured(self._add)

    def _add(self, x: Tensor, y: Tensor) -> None:
        with self.compute.autocast():
            logits = self.model(self.compute.batch(x)).float()
        self.correct += (logits.argmax(1) == y).sum()
        self.loss += F.cross_entropy(logits, y, reduction="sum")

    def count(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Score:
        """The score on `batches`, with the model in eval mode."""
        total = 0
        self.correct.zero_()
        self.loss.zero_()
        with evaluating(self.model), torch.inference_mode():
            for x, y in labeled(batches, "evaluate"):
                self.add(x.to(self.compute.device), y.to(self.compute.device))
                total += len(y)
        if not total:
            raise PrunekitError("evaluate: there is not one image in `batches`.")
        return Score(int(self.correct), total, float(self.loss) / total)


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], compute: Compute | None = None) -> Score:
    """Count the images of `batches`, pairs of x (n, C, H, W) and y (n,), that `model` classifies correctly.

    The model is put in eval mode for the count, then back. `compute` defaults to where the model is, in its number
    format.
    """
    return Tally(model, compute or Compute.of(model)).count(batches)


def labeled(batches: Iterable, caller: str) -> Iterator[tuple[Tensor, Tensor]]:
    """`batches`, each of which has to be images and their labels, two tensors."""
    for number, batch in enumerate(batches, start=1):
        pair = isinstance(batch, tuple | list) and len(batch) == 2
        if not (pair and all(isinstance(part, Tensor) for part in batch)):
            raise PrunekitError(
                f"{caller}: batch {number} is a {type(batch).__name__}. It takes pairs of images and labels, two "
                "tensors: give ((b['image'], b['label']) for b in loader), say."
            )
        x, y = batch
        yield x, y


def fit(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    seed: int = 0,
    compute: Compute | None = None,
    checkpoint: str | Path | None = None,
    watch: tuple[str, ...] = ("validation", "test"),
    progress: bool | None = None,
) -> pd.DataFrame:
    """Train `model` in place on `data.train` by `recipe`; a row per epoch of what was seen.

    Columns: epoch (from 1), lr (of the last step), train_loss, train_accuracy, seconds, and for each part of the data
    named in `watch` the columns `<part>_correct` and `<part>_total`.

    With `checkpoint`, everything is written to that file after each epoch (on a GPU, where an epoch may take a second,
    after `PAUSE` seconds), and a call that finds the file goes on from there; the result is the same as without the
    interruption (on a GPU up to rounding), since each epoch draws its random numbers from `seed` and its own number
    alone. `progress` None shows a bar on a terminal only.

    Where the last batch of an epoch would be one single image, it is left out: BN over vectors cannot train on one.

    Raises `TrainingError` when the loss is no longer finite, or when the checkpoint is another run's.
    """
    compute = compute or Compute()
    data = data.to(compute.device)
    compute.place(model)
    steps = steps_of(data, recipe)
    rates = learning_rates(recipe, steps)
    optimizer = SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )
    run = Run(model, optimizer, identity(model, data, recipe, seed, compute))
    history = run.resume(Path(checkpoint)) if checkpoint else []
    step = Step(model, optimizer, compute)
    tallies = {part: Tally(model, compute) for part in watch}
    written = time.monotonic()

    hidden = None if progress is None else not progress
    with aside(), tqdm(total=recipe.epochs * steps, initial=len(history) * steps, disable=hidden, unit="step") as bar:
        for epoch in range(len(history) + 1, recipe.epochs + 1):
            started = time.perf_counter()
            bar.set_description(f"epoch {epoch}/{recipe.epochs}")
            row: dict = {"epoch": epoch} | train_epoch(step, data, recipe, rates, epoch, seed * 1000 + epoch, bar)
            for part, tally in tallies.items():
                score = tally.count(Batches(getattr(data, part)))
                row |= {f"{part}_correct": score.correct, f"{part}_total": score.total}
            history.append(row | {"seconds": time.perf_counter() - started})
            pause = PAUSE if step.on_gpu and epoch < recipe.epochs else 0
            if checkpoint and time.monotonic() - written >= pause:
                run.write(Path(checkpoint), history)
                written = time.monotonic()
    optimizer.zero_grad(set_to_none=True)
    return pd.DataFrame(history)


class Step:
    """A step of training: forward, back, update. The loss and the right answers add up on the device."""

    def __init__(self, model: nn.Module, optimizer: SGD, compute: Compute):
        self.model, self.optimizer, self.compute = model, optimizer, compute
        self.on_gpu = torch.device(compute.device).type == "cuda"
        self.loss = torch.zeros((), device=compute.device)
        self.correct = torch.zeros((), dtype=torch.long, device=compute.device)
        self.take = Captured(self._take)
        self.rate = float("nan")
        for group in optimizer.param_groups:  # a recorded step reads the rate from the device
            group["lr"] = torch.zeros((), device=compute.device) if self.on_gpu else 0.0
            group["fused"] = self.on_gpu or None

    def __call__(self, x: Tensor, y: Tensor, rate: float) -> None:
        if rate != self.rate:
            for group in self.optimizer.param_groups:
                group["lr"] = group["lr"].fill_(rate) if self.on_gpu else rate
            self.rate = rate
        self.take(x, y)

    def _take(self, x: Tensor, y: Tensor) -> None:
        with self.compute.autocast():
            logits = self.model(self.compute.batch(x))
        loss = F.cross_entropy(logits.float(), y)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.loss += loss.detach() * len(y)
        self.correct += (logits.argmax(1) == y).sum()


def train_epoch(
    step: Step, data: Data, recipe: Recipe, rates: Sequence[float], epoch: int, seed: int, bar: tqdm
) -> dict[str, float]:
    """One pass over the training images; its last learning rate, mean loss and accuracy."""
    with turn():
        torch.manual_seed(seed)  # for layers that draw numbers of their own, such as dropout
    step.model.train()
    step.loss.zero_()
    step.correct.zero_()
    steps, seen = steps_of(data, recipe), 0
    batches = Batches(data.train, recipe.batch_size, seed, data.augmentation)
    for number, (x, y) in enumerate(itertools.islice(batches, steps), start=1):
        step(x, y, rates[(epoch - 1) * steps + number - 1])
        seen += len(y)
        if number % 20 == 0 or number == steps:  # reading a number off a GPU waits for it, so not at each step
            go_on()
            finite = torch.isfinite(step.loss) and (number < steps or all_finite(step.model))
            if not finite:
                raise TrainingError(
                    f"The loss or the weights are not finite any more: epoch {epoch}, step {number}, learning rate "
                    f"{step.rate:.3g}. Take a smaller learning rate than {recipe.learning_rate:g}; a checkpoint still "
                    "holds the epoch before."
                )
            bar.set_postfix(
                loss=f"{step.loss.item() / seen:.3f}", accuracy=f"{step.correct.item() / seen:.1%}", refresh=False
            )
        bar.update()
    return {"lr": step.rate, "train_loss": step.loss.item() / seen, "train_accuracy": step.correct.item() / seen}


def steps_of(data: Data, recipe: Recipe) -> int:
    """Batches of an epoch, without a last one of one image behind others."""
    whole, rest = divmod(len(data.train), recipe.batch_size)
    return whole + (rest > 1 or (rest == 1 and not whole))


def all_finite(model: nn.Module) -> bool:
    """Whether every parameter and buffer is finite."""
    numbers = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
    return bool(torch.isfinite(nn.utils.get_total_norm(numbers)))


def identity(model: nn.Module, data: Data, recipe: Recipe, seed: int, compute: Compute) -> dict:
    """What must agree for a checkpoint to be gone on from: recipe, seed, data and how many images it has, the number
    format, and the shape of every tensor."""
    facts = {
        "recipe": asdict(recipe),
        "seed": seed,
        "data": data.name,
        "images": {part: len(getattr(data, part)) for part in ("train", "validation", "test")},
        "dtype": str(compute.dtype),
        "shapes": {name: list(tensor.shape) for name, tensor in model.state_dict().items()},
    }
    return json.loads(json.dumps(facts))


def agrees(found: object, wanted: dict) -> bool:
    """Whether a checkpoint's identity is the `wanted` one. Earlier versions did not note images and dtype."""
    noted = json.loads(found) if isinstance(found, str) else {}
    return {"images": wanted["images"], "dtype": wanted["dtype"]} | noted == wanted


@dataclass
class Run:
    """What changes while training, to be written and read back as one."""

    model: nn.Module
    optimizer: SGD
    identity: dict

    def write(self, path: Path, history: list[dict]) -> None:
        """Write everything to `path`, whole or not at all."""
        state = {part: getattr(self, part).state_dict() for part in ("model", "optimizer")}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            identity = json.dumps(self.identity, sort_keys=True)
            torch.save(state | {"identity": identity, "history": history}, partial)

    def resume(self, path: Path) -> list[dict]:
        """Go back to the state in `path` if it exists; the history so far."""
        if not path.exists():
            return []
        try:
            with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
                if damaged := archive.testzip():
                    raise ValueError(f"{damaged} is damaged")
            state = torch.load(path, map_location=next(self.model.parameters()).device, weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            raise TrainingError(f"The checkpoint {path} cannot be read ({error}). Remove it to start again.") from error
        if not isinstance(state, dict) or not agrees(state.get("identity"), self.identity):
            raise TrainingError(
                f"The checkpoint {path} is another run's: its recipe, seed, data, number format or network differ. "
                "Remove it to start again, or give this run a file of its own."
            )
        for part in ("model", "optimizer"):
            getattr(self, part).load_state_dict(state[part])
        return state["history"]
