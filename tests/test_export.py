"""Pruned networks are at home in PyTorch: they are exported, compiled, saved and copied like any other."""

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
from odd_nets import agree, randomize
from torch import Tensor, nn

import prunekit as pk
from prunekit._torchvision import torchvision
from prunekit.errors import PrunekitError, TraceError

SKIPPED_B = (16, 18, 20, 34, 38, 54)  # of ResNet-56, section 4.2 of the paper
BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "vgg16": partial(pk.nets.vgg16, 1 / 16),
    "resnet56": partial(pk.nets.resnet56, width=1 / 2),
    "resnet18": partial(torchvision.models.resnet18, num_classes=10),
    "mobilenet": partial(torchvision.models.mobilenet_v3_small, num_classes=10),
}


def rates(name: str, model: nn.Module) -> dict[str, float]:
    """VGG-16-A, ResNet-56-B, and for torchvision's networks half of the filters everywhere."""
    numbers = pk.nets.numbered(model)
    if name == "vgg16":
        return {numbers[i]: 0.5 for i in (1, *range(8, 14))}
    if name == "resnet56":
        stages = {i: (0.6, 0.3, 0.1)[(i - 2) // 18] for i in range(2, 56, 2)}
        return {numbers[i]: rate for i, rate in stages.items() if i not in SKIPPED_B}
    graph = pk.trace(model, torch.randn(1, 3, 64, 64))
    decided: set[str] = set()
    for layer in graph.layers:
        if not decided & {layer, *graph.tied(layer)} and not set(graph.colors(layer)) & set(graph.reasons):
            decided.add(layer)
    return dict.fromkeys(decided, 0.5)


@cache
def pruned(name: str) -> tuple[Any, Tensor]:
    """The pruned network in eval mode, with random BN statistics, and an input."""
    torch.manual_seed(0)
    model = randomize(BUILDERS[name]().eval())
    for parameter in model.parameters():
        parameter.data *= 0.5  # keeps numbers small in deep networks without trained norms
    x = torch.randn(2, 3, 32, 32)
    small = pk.prune(model, pk.plan(pk.trace(model, x), rates(name, model)))
    assert sum(p.numel() for p in small.parameters()) < 0.9 * sum(p.numel() for p in model.parameters())
    return small, x


@cache
def exported(name: str) -> torch.export.ExportedProgram:
    small, x = pruned(name)
    return torch.export.export(small, (x,))


@pytest.mark.parametrize("name", BUILDERS)
def test_torch_export(name: str):
    small, x = pruned(name)
    program = exported(name)
    other = torch.randn_like(x)
    with torch.inference_mode():
        assert agree(program.module()(other), small(other), 1e-6)
    kept = {key: tuple(tensor.shape) for key, tensor in small.state_dict().items()}
    assert {key: tuple(tensor.shape) for key, tensor in program.state_dict.items()} == kept


def test_an_exported_network_is_saved_and_loaded():
    small, x = pruned("vgg16")
    file = io.BytesIO()
    torch.export.save(exported("vgg16"), file)
    file.seek(0)
    with torch.inference_mode():
        assert agree(torch.export.load(file).module()(x), small(x), 1e-6)


@pytest.mark.parametrize("name", BUILDERS)
def test_onnx(name: str, tmp_path):
    import onnxruntime

    small, x = pruned(name)
    with warnings.catch_warnings(action="ignore"):  # about torch's own use of torch
        program = torch.onnx.export(exported(name), dynamo=True, optimize=False, verbose=False)
    assert program is not None
    program.save(tmp_path / "small.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    other = torch.randn_like(x)
    (got,) = session.run(None, {session.get_inputs()[0].name: other.numpy()})
    with torch.inference_mode():
        assert agree(torch.from_numpy(got), small(other), 1e-5)


@pytest.mark.parametrize("name", ["vgg16", "mobilenet"])
def test_torch_compile(name: str):
    """Captured in one piece, without the C++ compiler behind it."""
    small, x = pruned(name)
    compiled = torch.compile(small, backend="eager", fullgraph=True)
    with torch.inference_mode():
        assert agree(compiled(x), small(x), 1e-6)


@pytest.mark.parametrize("name", BUILDERS)
def test_state_dict_without_pickle_of_code(name: str):
    small, x = pruned(name)
    file = io.BytesIO()
    torch.save(small.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    again = copy.deepcopy(small)
    for parameter in again.parameters():
        parameter.data.zero_()
    again.load_state_dict(state)
    rebuilt = pk.rebuild(state, BUILDERS[name], x).eval()
    with torch.inference_mode():
        assert again(x).equal(small(x))
        assert rebuilt(x).equal(small(x))


@pytest.mark.parametrize("name", BUILDERS)
def test_copies(name: str):
    small, x = pruned(name)
    with torch.inference_mode():
        for again in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
            assert type(again) is type(small)
            assert again(x).equal(small(x))
            assert not {p.data_ptr() for p in again.parameters()} & {p.data_ptr() for p in small.parameters()}


# What networks are wrapped in, and how they come


@pytest.mark.parametrize("kind", ["DataParallel", "OptimizedModule"])
def test_wrapped_networks_are_refused_and_what_is_inside_is_pruned(kind: str):
    def wrap(net: nn.Module) -> Any:
        return nn.DataParallel(net) if kind == "DataParallel" else torch.compile(net, backend="eager")

    model, x = pk.nets.vgg16(1 / 16).eval(), torch.randn(2, 3, 32, 32)
    plan = pk.plan(pk.trace(model, x), 0.5)
    inner = "module" if kind == "DataParallel" else "_orig_mod"
    outside = wrap(model)
    refused = pytest.raises(TraceError, match=rf"wrapped in {kind}: pass what is inside, `model.{inner}`")
    for call in (
        lambda: pk.trace(outside, x),
        lambda: pk.prune(outside, plan),
        lambda: pk.mask(outside, plan),
        lambda: pk.shrink(outside, x),
        lambda: pk.shrinkable(outside, x),
    ):
        with refused:
            call()
    small = pk.prune(getattr(outside, inner), plan)
    assert agree(wrap(small)(x), pk.mask(model, plan)(x), 1e-5)
    with pytest.raises(PrunekitError):
        pk.prune(wrap(pk.prune(model, plan)), plan)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_frozen_network_in_half_precision_and_channels_last_while_it_trains(dtype: torch.dtype):
    """All at once, on a network with residual sums and depthwise convs; everything stays as it was."""
    torch.manual_seed(0)
    model = randomize(BUILDERS["mobilenet"]()).to(dtype).to(memory_format=torch.channels_last).train()
    model.features.requires_grad_(False)
    x = torch.randn(2, 3, 32, 32, dtype=dtype).contiguous(memory_format=torch.channels_last)
    plan = pk.plan(pk.trace(model, x), rates("mobilenet", model))
    for small in (pk.prune(model, plan), pk.mask(model, plan), pk.shrink(model, x)):
        assert [m.training for m in small.modules()] == [m.training for m in model.modules()]
        assert [p.requires_grad for p in small.parameters()] == [p.requires_grad for p in model.parameters()]
        assert {p.dtype for p in small.parameters()} == {dtype}
        for p, old in zip(small.parameters(), model.parameters(), strict=True):
            for layout in (torch.channels_last, torch.contiguous_format):
                assert old.dim() < 4 or p.is_contiguous(memory_format=layout) >= old.is_contiguous(memory_format=layout)
    small, masked = pk.prune(model, plan).eval(), pk.mask(model, plan).eval()
    with torch.inference_mode():
        assert agree(small(x), masked(x), 0.05)
