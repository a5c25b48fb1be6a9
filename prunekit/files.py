"""Save and load pruned networks: weights in safetensors, the plans that shaped them in its header, no pickle."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from .errors import FileError, PlanError, PrunekitError
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
    texts = [plan.to_json() for plan in plans]
    header = {"plans": json.dumps(texts), "sha256": digest(state, texts)}
    with replacing(path) as partial:
        partial.write_bytes(serialize(state, {"prunekit": json.dumps(header)}))


def load(path: str | Path, builder: Callable[[], nn.Module]) -> nn.Module:
    """The network in the file: build it with `builder()`, apply its plans, fill in the weights, bit for bit.

    Raises `FileError` for a file that is missing, damaged, changed since it was written or not prunekit's, and
    `PlanError` where the builder makes another network.
    """
    plans, state = read(Path(path))
    if isinstance(builder, nn.Module):
        raise PlanError("load takes a function that builds the network, such as pk.nets.vgg16, not a network.")
    model = builder()
    try:
        for plan in plans:
            model = prune(model, plan)
    except PrunekitError as error:
        raise PlanError(f"{path} is of another network than the builder makes: {error}") from error
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
        tensor.data = state[name].clone()  # a copy: what is read from a file need not be aligned in memory
    return model


def plans_of(path: str | Path) -> list[Plan]:
    """The plans in the header of a saved network, in the order in which they were carried out."""
    return read(Path(path))[0]


def stored(model: nn.Module) -> dict[str, Tensor]:
    """What a file holds: parameters and persistent buffers, each once."""
    persistent = model.state_dict().keys()
    return {name: tensor for name, tensor in tensors(model).items() if name in persistent}


def digest(state: dict[str, Tensor], texts: Sequence[str] = ()) -> str:
    """SHA-256 over `texts`, then names, types, shapes and bytes in alphabetical order."""
    total = hashlib.sha256("".join(texts).encode())
    for name, tensor in sorted(state.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def read(path: Path) -> tuple[list[Plan], dict[str, Tensor]]:
    """Plans and tensors of a file that `save` wrote, checked against its checksum."""
    if not path.is_file():
        raise FileError(f"There is no file {path}.")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("prunekit", "null"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, SafetensorError, ValueError) as error:
        raise FileError(f"{path} is not a whole safetensors file ({error}); get or write it again.") from error
    try:
        texts, checksum = json.loads(header["plans"]), header["sha256"]
        whole = digest(state, texts) == checksum
    except (TypeError, KeyError, ValueError) as error:
        raise FileError(f"{path} has no prunekit header: it was not written by prunekit.save.") from error
    if not whole:
        raise FileError(f"{path} was changed after it was written: its checksum does not match. Get it again.")
    return [Plan.from_json(text) for text in texts], state
