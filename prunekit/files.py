"""Save and load pruned networks: weights in safetensors, the plans that shaped them in its header, no pickle."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from .errors import FileError, PlanError, PrunekitError, SurgeryError, said
from .layers import CONVS
from .modes import evaluating
from .plans import Plan
from .surgery import example as inputs_of
from .surgery import outputs, prune, refit, tensors
from .writing import replacing


def save(model: nn.Module, plans: Plan | Sequence[Plan], path: str | Path) -> None:
    """Write the weights of `model` to `path`, with the plan, or plans in order, that made its shape.

    The file is written whole or not at all; its name ends in .safetensors. An unpruned network is saved with the plans
    `[]`, one that was cut twice with both, `[first, second]`. Raises `FileError` where it cannot be written, and
    `PlanError` where the last plan did not make this network.
    """
    path = Path(path)
    if not isinstance(model, nn.Module):
        raise PlanError(f"save takes the network itself, not a {type(model).__name__}.")
    if plans is None:
        raise PlanError("save takes the plan, or plans in order, that made the network; [] if it was not cut.")
    plans = [plans] if isinstance(plans, Plan) else list(plans)
    if path.suffix != ".safetensors":
        raise FileError(f"{path} would hold safetensors: give it a name that ends in .safetensors.")
    modules = dict(model.named_modules())
    for layer, kept in plans[-1].kept.items() if plans else ():
        module = modules.get(layer)
        if isinstance(module, (*CONVS, nn.Linear)) and len(module.weight) != len(kept):
            raise PlanError(
                f"The network does not have the shape of this plan: {layer!r} has {len(module.weight)} filters, and "
                f"the plan leaves {len(kept)}. Save what pk.prune returned."
            )
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in stored(model).items()}
    texts = [plan.to_json() for plan in plans]
    header = {"plans": json.dumps(texts), "sha256": digest(state, texts)}
    with replacing(path) as partial:
        partial.write_bytes(serialize(state, {"prunekit": json.dumps(header)}))


def load(path: str | Path, builder: Callable[[], nn.Module]) -> nn.Module:
    """The network in the file: build it with `builder()`, apply its plans, fill in the weights, bit for bit.

    Biases that `shrink` has added are added here, too. Raises `FileError` for a file that is missing, damaged, changed
    since it was written or not prunekit's, and `PlanError` where the builder makes another network.
    """
    plans, state = read(Path(path))
    model = built(builder, "load")
    try:
        for plan in plans:
            model = prune(model, plan)
    except PrunekitError as error:
        raise PlanError(
            f"{path} is of another network than the builder makes: {error} (What is cut several times is saved with "
            "all its plans, in order.)"
        ) from error
    targets = matching(model, state, str(path))
    for name, tensor in targets.items():
        if tensor.shape != state[name].shape:
            raise PlanError(
                f"{path} is of another network: {name!r} is {tuple(state[name].shape)} in the file and "
                f"{tuple(tensor.shape)} in the built network. Pass the builder it was made with."
            )
        tensor.data = state[name].clone()  # a copy: what is read from a file need not be aligned in memory
    return model


def rebuild(state: Mapping[str, Tensor], builder: Callable[[], nn.Module], *example: Tensor) -> nn.Module:
    """The network of which `state` is the `state_dict`, from shapes alone: for pruned weights that came without a plan.

    `builder()` makes the network as it was before the cut. It takes over the tensors of `state`, its layers take over
    their sizes, and it is run once on inputs of the shapes of `example`. Which filters were removed cannot be known; it
    does not matter unless the forward takes fixed parts of the maps. `torch.load(path, weights_only=True)` and
    `safetensors.torch.load_file(path)` return such a `state`.

    Raises `PlanError` where `state` is of another network, `SurgeryError` where the shapes do not fit one another.
    """
    model = built(builder, "rebuild")
    wanted = ran(model, example, "The network that the builder makes does not run on this example")
    matching(model, {name: state[name] for name in state if name not in aliases(model)}, "`state`")
    for name, tensor in model.state_dict(keep_vars=True).items():
        new = state.get(name, tensor)
        if new.dim() != tensor.dim() or any(a > b for a, b in zip(new.shape, tensor.shape, strict=True)):
            raise PlanError(
                f"`state` is of another network: {name!r} is {tuple(new.shape)} in it and {tuple(tensor.shape)} in the "
                "built network, and a cut only makes smaller. Pass the builder it was made with."
            )
        tensor.data = new.detach().clone()
    for module in model.modules():
        refit(module)
    got = ran(model, example, "These weights do not fit one another")
    if [t.shape for t in got] != [t.shape for t in wanted]:
        raise SurgeryError(
            f"With these weights the network returns the shapes {[tuple(t.shape) for t in got]}, and as built "
            f"{[tuple(t.shape) for t in wanted]}. Pass a builder with as many outputs; if it has them, a size is "
            "written into the forward as a number."
        )
    return model


def built(builder: Callable[[], nn.Module], caller: str) -> nn.Module:
    """What the builder makes; a network in its place is refused."""
    if isinstance(builder, nn.Module):
        raise PlanError(f"{caller} takes a function that builds the network, such as pk.nets.vgg16, not a network.")
    return builder()


def aliases(model: nn.Module) -> set[str]:
    """The further names, in a `state_dict`, of tensors that have several."""
    return set(model.state_dict()) - set(stored(model))


def ran(model: nn.Module, example: Sequence[Tensor], failure: str) -> list[Tensor]:
    """What the model returns for an example, in eval mode and its own number format."""
    with evaluating(model):
        try:
            return outputs(model, inputs_of(model, [x.shape for x in example]))
        except SurgeryError as error:  # it speaks of a cut, and names no side
            cause = error.__cause__ or error
            raise SurgeryError(f"{failure}: {said(cause)}.") from cause


def matching(model: nn.Module, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors of `model` that `state` shall fill, by name. Biases that only `state` has are added to `model`."""
    modules = dict(model.named_modules())
    for name in state.keys() - stored(model).keys():
        layer, _, last = name.rpartition(".")
        module, weight = modules.get(layer), state.get(f"{layer}.weight")
        fits = weight is not None and state[name].shape == weight.shape[:1]
        if last == "bias" and isinstance(module, (*CONVS, nn.Linear)) and module.bias is None and fits:
            module.bias = nn.Parameter(state[name].clone(), module.weight.requires_grad)
    targets = stored(model)
    for name in sorted(targets.keys() ^ state.keys()):
        side = "it" if name in state else "the built network"
        raise PlanError(f"{source} is of another network: only {side} has {name!r}. Pass the builder it was made with.")
    return targets


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


def existing(path: Path) -> Path:
    """`path`, if a file is there."""
    if path.is_dir():
        raise FileError(f"{path.absolute()} is a folder: name a file in it.")
    if not path.is_file():
        raise FileError(f"There is no file {path.name} in {path.absolute().parent}.")
    return path


def read(path: Path) -> tuple[list[Plan], dict[str, Tensor]]:
    """Plans and tensors of a file that `save` wrote, checked against its checksum."""
    existing(path)
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
