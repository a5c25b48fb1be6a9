"""A user's own network from the command line: find the function that builds it, and fill in its weights."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from . import files, nets
from .errors import FileError, PrunekitError, nearest, said
from .plans import Plan

HOW = "Write package.module:function or path/to/file.py:function, or one of: " + ", ".join(nets.NETWORKS)


def named(reference: str) -> Callable[..., Any]:
    """The function that `package.module:function` or `path/to/file.py:function` names.

    Modules are looked for in the current folder too, as `python -m` does; a file's own folder is searched for what it
    imports. Raises PrunekitError if there is no such file, module or function, or if importing it fails.
    """
    place, colon, name = reference.rpartition(":")
    if not colon or not place or not name:
        raise PrunekitError(f"{reference!r} does not name a function. {HOW}.")
    module = _from_file(Path(place)) if place.endswith(".py") else _imported(place)
    if not hasattr(module, name):
        known = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise PrunekitError(f"{place} has no function {name!r}.{nearest(name, known)}")
    function = getattr(module, name)
    if not callable(function):
        raise PrunekitError(f"{reference} is a {type(function).__name__}, not a function.")
    return function


def builder(reference: str) -> Callable[[], nn.Module]:
    """What builds the network that `reference` names: one of `nets.NETWORKS`, or a function as `named` finds it.

    The function is called without arguments; what it returns is checked to be a network.
    """
    if reference in nets.NETWORKS:
        return lambda: nets.build(reference)
    if ":" not in reference:
        raise PrunekitError(f"Unknown network {reference!r}.{nearest(reference, nets.NETWORKS)} {HOW}.")
    function = named(reference)

    def build() -> nn.Module:
        model = called(function, reference)
        if not isinstance(model, nn.Module):
            raise PrunekitError(f"{reference} returned a {type(model).__name__}, not a torch.nn.Module.")
        return model

    return build


def called(function: Callable[..., Any], reference: str) -> Any:
    """What a user's function returns without arguments; PrunekitError with the line where it stops."""
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise PrunekitError(
            f"{reference} must work without arguments: {error}. Write one that fills them in."
        ) from None
    except ValueError:
        pass  # a builtin that does not tell its arguments
    try:
        return function()
    except PrunekitError:
        raise
    except Exception as error:
        raise PrunekitError(f"{reference} stopped with {type(error).__name__}: {said(error)}.") from error


def filled(build: Callable[[], nn.Module], path: str | Path) -> tuple[nn.Module, list[Plan]]:
    """The network with weights from a file, and the plans that shaped it before.

    The file is one that `prunekit.save` wrote (its plans are carried out first), any other .safetensors, or what
    `torch.save(model.state_dict(), ...)` wrote, read with weights_only=True, so that nothing in it can run.
    Raises FileError for a damaged file or weights of another network.
    """
    path = files.existing(Path(path))
    if path.suffix == ".safetensors":
        ours, state = _safetensors(path)
        if ours:
            return files.load(path, build), files.plans_of(path)
    else:
        state = _pickled(path)
    model = build()
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        wrong = " ".join(str(error).split())
        raise FileError(f"{path} holds the weights of another network: {wrong[:400]}") from None
    return model, []


def _safetensors(path: Path) -> tuple[bool, dict[str, Tensor]]:
    """Whether prunekit wrote the file, and the tensors if it did not."""
    try:
        with safe_open(path, "pt") as file:
            if "prunekit" in (file.metadata() or {}):
                return True, {}
            return False, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, SafetensorError) as error:
        raise FileError(f"{path} is not a whole safetensors file ({error}); get or write it again.") from error


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling may raise anything
        reason = str(error).strip().partition("\n")[0]
        raise FileError(
            f"{path} cannot be read as plain weights ({reason[:200]}). "
            "Save them with torch.save(model.state_dict(), ...)."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # as training scripts often wrap it
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise FileError(f"{path} holds something else than weights by name. Save model.state_dict().")
    return state


def _imported(module: str) -> Any:
    _search(Path.cwd())
    try:
        return importlib.import_module(module)
    except Exception as error:  # a user's module may raise anything
        raise PrunekitError(f"{module} cannot be imported: {type(error).__name__}: {said(error)}.") from error


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise PrunekitError(f"There is no file {path}. {HOW}.")
    name = f"_user_{path.stem}"  # a file may be called like a module that something else needs
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _search(path.resolve().parent)
    sys.modules[name] = module  # dataclasses look a class's module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        del sys.modules[name]
        raise PrunekitError(f"{path} cannot be run: {type(error).__name__}: {said(error)}.") from error
    return module


def _search(folder: Path) -> None:
    """Look for modules in `folder` too, from now on: a builder may import only when it is called."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
