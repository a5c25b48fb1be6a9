"""Save and load pruned networks: weights in safetensors, the plans that shaped them in its header, no pickle."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .errors import FileError, PlanError
from .plans import Plan
from .surgery import prune, tensors
from .writing import replacing


def save(model: nn.Module, plans: Plan | Sequence[Plan], path: str | Path) -> None:
    """Write the weights of `model` to `path`, with the plan, or plans in order, that made its shape.

    The file is written whole or not at all. An unpruned network is saved with the plans `[]`.
    """
    path = Path(path)
    plans = [plans] if isinstance(plans, Plan) else list(plans)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in stored(model).items()}
    header = {"plans": json.dumps([plan.to_json() for plan in plans]), "sha256": digest(state)}
    with replacing(path) as partial:
        save_file(state, partial, {"prunekit": json.dumps(header)})


def load(path: str | Path, builder: Callable[[], nn.Module]) -> nn.Module:
    """The network in the file: build it with `builder()`, apply its plans, fill in the weights, bit for bit.

    Raises `FileError` for a file that is missing, damaged, changed since it was written or not prunekit's, and
    `PlanError` where the builder makes another network.
    """
    header, state = read(Path(path))
    model = builder()
    for text in json.loads(header["plans"]):
        model = prune(model, Plan.from_json(text))
    targets = stored(model)
    for name in targets.keys() ^ state.keys():
        side = "the file" if name in state else "the built network"
        raise PlanError(f"{path} is of another network: {name!r} is only in {side}. Pass the builder it was made with.")
    for name, tensor in targets.items():
        if tensor.shape != state[name].shape:
            raise PlanError(
                f"{path} is of another network: {name!r} is {tuple(state[name].shape)} in the file and "
                f"{tuple(tensor.shape)} in the built network. Pass the builder it was made with."
            )
        tensor.data = state[name]
    return model


def plans_of(path: str | Path) -> list[Plan]:
    """The plans in the header of a saved network, in the order in which they were carried out."""
    return [Plan.from_json(text) for text in json.loads(read(Path(path))[0]["plans"])]


def stored(model: nn.Module) -> dict[str, Tensor]:
    """What a file holds: parameters and persistent buffers, each once."""
    persistent = model.state_dict().keys()
    return {name: tensor for name, tensor in tensors(model).items() if name in persistent}


def digest(state: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in alphabetical order."""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors of a file that `save` wrote, checked against its checksum."""
    if not path.is_file():
        raise FileError(f"There is no file {path}.")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("prunekit", "null"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, SafetensorError, ValueError) as error:
        raise FileError(f"{path} is not a whole safetensors file ({error}); get or write it again.") from error
    if header is None:
        raise FileError(f"{path} has no prunekit header: it was not written by prunekit.save.")
    if digest(state) != header["sha256"]:
        raise FileError(f"{path} was changed after it was written: its checksum does not match. Get it again.")
    return header, state
