"""Saved networks come back bit for bit where only the file and the builder are known; damaged files are refused."""

import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from odd_nets import ALL, PAPER, full_disk, logits, made
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import prunekit as pk
from prunekit.errors import FileError, PlanError, PrunekitError, SurgeryError
from prunekit.plans import plan_by_hand

BUILDERS = {name: builder for name, (builder, _) in ALL.items()}
small_vgg = partial(pk.nets.vgg16, 1 / 16)


def trained_a_step(model: nn.Module, x: Tensor) -> nn.Module:
    """One step of training, so that no weight is one that a builder makes."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model.train()(x), torch.arange(len(x))).backward()
    optimizer.step()
    return model.eval()


def pruned(name: str = "vgg16", dtype: torch.dtype = torch.float32) -> tuple[Any, pk.Plan, Tensor]:
    """A pruned network after a step of training, its plan, and an input."""
    model, (x,) = made(name, dtype=torch.float32)
    plan = pk.plan(pk.trace(model, x), 0.5)
    return trained_a_step(pk.prune(model, plan), x).to(dtype), plan, x.to(dtype)


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = list(zip(a.state_dict().items(), b.state_dict().items(), strict=True))
    return all(m == n and x.dtype == y.dtype and x.equal(y) for (m, x), (n, y) in pairs)


def test_in_a_process_that_knows_only_file_and_builder(tmp_path: Path):
    for name in ("vgg16", "resnet20 projection"):
        model, plan, x = pruned(name)
        pk.save(model, plan, tmp_path / f"{name}.safetensors")
        torch.save({"x": x, "state": model.state_dict(), "logits": model(x).detach()}, tmp_path / f"{name}.pt")
    program = """
        import sys, pathlib, torch, prunekit as pk
        torch.set_num_threads(1)
        builders = {
            "vgg16": lambda: pk.nets.vgg16(1 / 16),
            "resnet20 projection": lambda: pk.nets.resnet20("projection", 1 / 4),
        }
        for name, builder in builders.items():
            file, wanted = (pathlib.Path(sys.argv[1], name + suffix) for suffix in (".safetensors", ".pt"))
            model, wanted = pk.load(file, builder).eval(), torch.load(wanted)
            state = model.state_dict()
            assert state.keys() == wanted["state"].keys()
            assert all(state[name].equal(tensor) for name, tensor in wanted["state"].items())
            assert model(wanted["x"]).equal(wanted["logits"])
            assert b"pickle" not in file.read_bytes()
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), str(tmp_path)]
    subprocess.run(command, check=True, timeout=300)


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "normalized"])
def test_every_network_comes_back(tmp_path: Path, name: str):
    model, inputs = made(name, dtype=torch.float32)
    graph = pk.trace(model, *inputs)
    layer = next(layer for layer in graph.layers if set(graph.colors(layer)) - set(graph.reasons))
    unit = next(c for c in graph.colors(layer) if c not in graph.reasons)
    plan = plan_by_hand(graph, {layer: [i for i, c in enumerate(graph.colors(layer)) if c == unit]})
    small = pk.prune(model, plan)
    pk.save(small, plan, tmp_path / "a.safetensors")
    assert same(pk.load(tmp_path / "a.safetensors", BUILDERS[name]), small)
    assert pk.plans_of(tmp_path / "a.safetensors") == [plan]


def test_pruned_twice(tmp_path: Path):
    model, first, x = pruned()
    second = pk.plan(pk.trace(model, x), {"features.24": 0.5, "features.0": 0.5})
    smaller = trained_a_step(pk.prune(model, second), x)
    pk.save(smaller, [first, second], tmp_path / "a.safetensors")
    assert same(pk.load(tmp_path / "a.safetensors", small_vgg), smaller)
    assert pk.plans_of(tmp_path / "a.safetensors") == [first, second]


def test_not_pruned(tmp_path: Path):
    model, _ = made("vgg16", dtype=torch.float32)
    pk.save(model, [], tmp_path / "a.safetensors")
    assert same(pk.load(tmp_path / "a.safetensors", small_vgg), model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_number_formats(tmp_path: Path, dtype: torch.dtype):
    model, plan, x = pruned(dtype=dtype)
    pk.save(model, plan, tmp_path / "a.safetensors")
    again = pk.load(tmp_path / "a.safetensors", small_vgg).eval()
    assert same(again, model)
    assert again(x).equal(model(x))


def test_half_takes_half_the_room(tmp_path: Path):
    model, _ = made("vgg16", dtype=torch.float32)
    pk.save(model, [], tmp_path / "whole.safetensors")
    pk.save(model.half(), [], tmp_path / "half.safetensors")
    assert 0.5 < (tmp_path / "half.safetensors").stat().st_size / (tmp_path / "whole.safetensors").stat().st_size < 0.7


def test_saving_leaves_the_model_alone(tmp_path: Path):
    model, plan, _ = pruned()
    model = model.to(memory_format=torch.channels_last)
    before = [(id(p), p._version, p.stride()) for p in model.parameters()]
    pk.save(model, plan, tmp_path / "a.safetensors")
    assert [(id(p), p._version, p.stride()) for p in model.parameters()] == before
    assert same(pk.load(tmp_path / "a.safetensors", small_vgg), model)


def test_a_loaded_network_learns_and_is_pruned_again(tmp_path: Path):
    model, plan, x = pruned()
    pk.save(model, plan, tmp_path / "a.safetensors")
    again = pk.load(tmp_path / "a.safetensors", small_vgg)
    assert all(p.requires_grad for p in again.parameters())
    trained_a_step(again, x)
    assert not same(again, model)
    pk.prune(again, pk.plan(pk.trace(again, x), 0.5))


def test_loading_leaves_the_file_alone(tmp_path: Path):
    """The tensors of a file may lie in memory that is mapped to it."""
    model, plan, _ = pruned()
    pk.save(model, plan, tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()
    for parameter in pk.load(tmp_path / "a.safetensors", small_vgg).parameters():
        parameter.data.zero_()
    assert (tmp_path / "a.safetensors").read_bytes() == before


# Refused


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> bytes:
    model, plan, _ = pruned()
    path = tmp_path_factory.mktemp("files") / "a.safetensors"
    pk.save(model, plan, path)
    return path.read_bytes()


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 5000, -1, -1000])
def test_a_truncated_file(tmp_path: Path, written: bytes, keep: int):
    (tmp_path / "a.safetensors").write_bytes(written[:keep])
    with pytest.raises(FileError, match=r"a.safetensors is not a whole safetensors file .*; get or write it again"):
        pk.load(tmp_path / "a.safetensors", small_vgg)


def test_something_after_the_end(tmp_path: Path, written: bytes):
    (tmp_path / "a.safetensors").write_bytes(written + b"\0")
    with pytest.raises(FileError):
        pk.load(tmp_path / "a.safetensors", small_vgg)


def test_a_flipped_byte_is_always_noticed(tmp_path: Path, written: bytes):
    """Anywhere: in the length, in the header with its plan, in the weights."""
    header = int.from_bytes(written[:8], "little")
    places = [*range(8), *range(8, 8 + header, header // 150), *range(8 + header, len(written), len(written) // 50)]
    for place in places:
        for bit in (0x01, 0x40):
            damaged = bytearray(written)
            damaged[place] ^= bit
            (tmp_path / "a.safetensors").write_bytes(damaged)
            with pytest.raises(PrunekitError):
                pk.plans_of(tmp_path / "a.safetensors")


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(FileError, match=rf"^There is no file nowhere in {tmp_path}\.$"):
        pk.load(tmp_path / "nowhere", small_vgg)
    with pytest.raises(FileError, match=r"is a folder: name a file in it\.$"):
        pk.load(tmp_path, small_vgg)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"prunekit": "[]"}, {"prunekit": '{"plans": "[]"}'}])
def test_safetensors_of_others(tmp_path: Path, metadata: dict[str, str] | None):
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(FileError, match=r"has no prunekit header: it was not written by prunekit.save"):
        pk.load(tmp_path / "a.safetensors", small_vgg)


def test_a_pickle(tmp_path: Path):
    model, _, _ = pruned()
    torch.save(model.state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(FileError, match=r"is not a whole safetensors file"):
        pk.load(tmp_path / "a.safetensors", small_vgg)


@pytest.mark.parametrize(
    "builder",
    [pk.nets.vgg16, pk.nets.resnet20, partial(pk.nets.vgg16, 1 / 16, 7), BUILDERS["viewed"]],
    ids=["wider", "another", "other classes", "odd"],
)
def test_the_wrong_builder(tmp_path: Path, written: bytes, builder):
    (tmp_path / "a.safetensors").write_bytes(written)
    with pytest.raises(
        PlanError,
        match=r"a.safetensors is of another network than the builder makes|a.safetensors is of another network: ",
    ):
        pk.load(tmp_path / "a.safetensors", builder)


def test_a_network_is_not_a_builder(tmp_path: Path, written: bytes):
    (tmp_path / "a.safetensors").write_bytes(written)
    with pytest.raises(PlanError, match=r"takes a function that builds the network, such as pk.nets.vgg16"):
        pk.load(tmp_path / "a.safetensors", small_vgg())  # type: ignore[arg-type]


def test_weights_of_another_shape(tmp_path: Path):
    model, _ = made("viewed", dtype=torch.float32)
    pk.save(model, [], tmp_path / "a.safetensors")
    with pytest.raises(PlanError, match=r"a.safetensors is of another network: only the built network has 'b.bias'"):
        pk.load(tmp_path / "a.safetensors", BUILDERS["scaled"])
    with pytest.raises(PlanError, match=r"'fc.weight' is \(3, 24\) in the file and \(7, 24\) in the built network"):
        pk.load(tmp_path / "a.safetensors", lambda: with_head(BUILDERS["viewed"](), 7))


def with_head(model: Any, classes: int) -> nn.Module:
    model.fc = nn.Linear(24, classes)
    return model


# In the middle of writing


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, written: bytes):
    model, plan, _ = pruned()
    (tmp_path / "a.safetensors").write_bytes(written)
    with (
        full_disk(len(written) // 2),
        pytest.raises(FileError, match=r"a.safetensors could not be written .*untouched"),
    ):
        pk.save(model, plan, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == written
    assert os.listdir(tmp_path) == ["a.safetensors"]  # noqa: PTH208 - hidden files count, too


def test_a_folder_that_is_not_there(tmp_path: Path):
    model, plan, _ = pruned()
    with pytest.raises(FileError, match=r"There is no folder .*nowhere: make it, or choose another place for a.safe"):
        pk.save(model, plan, tmp_path / "nowhere" / "a.safetensors")


@pytest.mark.parametrize("name", ["a.pt", "a"])
def test_a_name_that_hides_what_is_in_the_file(tmp_path: Path, name: str):
    """`--weights` tells kinds of files by their names."""
    model, plan, _ = pruned()
    with pytest.raises(FileError, match=r"give it a name that ends in .safetensors"):
        pk.save(model, plan, tmp_path / name)


def test_a_network_that_its_plan_did_not_make(tmp_path: Path):
    model, plan, _ = pruned()
    message = r"not have the shape of this plan: 'features.0' has 4 filters, and the plan leaves 2. Save what pk.prune"
    with pytest.raises(PlanError, match=message):
        pk.save(small_vgg(), plan, tmp_path / "a.safetensors")
    with pytest.raises(PlanError, match=r"'features.0' has 2 filters, and the plan leaves 1"):
        again = pk.plan(pk.trace(model, torch.randn(1, 3, 32, 32)), {"features.0": 0.5})
        pk.save(model, [plan, again], tmp_path / "a.safetensors")


def test_a_kill_leaves_what_was_there(tmp_path: Path, written: bytes):
    """Killed while the new file is half written: the old one is whole, and the next save succeeds."""
    (tmp_path / "a.safetensors").write_bytes(written)
    program = """
        import os, pathlib, signal, sys
        import prunekit as pk
        def half(path, content):
            write(path, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        write, pathlib.Path.write_bytes = pathlib.Path.write_bytes, half
        pk.save(pk.nets.vgg16(1 / 16), [], sys.argv[1])
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "a.safetensors")]
    assert subprocess.run(command, timeout=300).returncode == -signal.SIGKILL
    assert (tmp_path / "a.safetensors").read_bytes() == written
    assert len(os.listdir(tmp_path)) == 2  # noqa: PTH208 - the half is there, under a name of its own
    model, _ = made("vgg16", dtype=torch.float32)
    pk.save(model, [], tmp_path / "a.safetensors")
    assert same(pk.load(tmp_path / "a.safetensors", small_vgg), model)


# From shapes alone


SHAPED = [
    "depthwise",
    "tied",
    "grouped",
    "group counts",
    "transposed",
    "functional",
    "group normed",
    "scales",
    "signal",
]


@pytest.mark.parametrize("name", [*PAPER, *SHAPED])
def test_every_network_is_rebuilt_from_its_state(name: str):
    model, inputs = made(name, dtype=torch.float32)
    graph = pk.trace(model, *inputs)
    units = sorted({c for colors in graph.layers.values() for c in colors} - set(graph.reasons))
    gone: set[int] = set()
    for unit in units[::2]:
        gone |= {unit} if all(graph.kept(gone | {unit}).values()) else set()
    removed = {layer: [i for i, c in enumerate(colors) if c in gone] for layer, colors in graph.layers.items()}
    small = pk.prune(model, plan_by_hand(graph, removed))
    again = pk.rebuild(small.state_dict(), BUILDERS[name], *inputs).eval()
    assert type(again) is type(model)
    assert same(again, small)
    assert repr(again) == repr(small)
    with torch.inference_mode():
        assert logits(again(*inputs)).equal(logits(small(*inputs)))


def test_rebuilt_from_files_of_others(tmp_path: Path):
    small, _, x = pruned()
    torch.save(small.state_dict(), tmp_path / "a.pt")
    save_file(small.state_dict(), tmp_path / "a.safetensors")
    for state in (torch.load(tmp_path / "a.pt", weights_only=True), load_file(tmp_path / "a.safetensors")):
        again = pk.rebuild(state, small_vgg, x)
        assert same(again, small)
        trained_a_step(again, x)  # in memory of its own
        assert all(tensor.equal(state[name]) for name, tensor in small.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_rebuilt_in_its_number_format(dtype: torch.dtype):
    small, _, x = pruned(dtype=dtype)
    again = pk.rebuild(small.state_dict(), small_vgg, x).eval()
    assert again(x).equal(small(x))


def test_rebuilt_with_a_bias_that_shrinking_made():
    def builder() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1, bias=False), nn.Flatten(), nn.Linear(144, 3))

    model: Any = builder()
    model[0].weight.data[:3] = 0
    x = torch.randn(2, 3, 8, 8)
    small = pk.shrink(model, x)
    again: Any = pk.rebuild(small.state_dict(), builder, x)
    assert again[1].bias.equal(small[1].bias)
    assert again(x).equal(small(x))


def test_rebuilding_refuses():
    small, _, x = pruned()
    state = dict(small.state_dict())
    with pytest.raises(PlanError, match=r"rebuild takes a function that builds the network"):
        pk.rebuild(state, small_vgg(), x)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match=r"`state` is of another network: only the built network has 'bn1.bias'"):
        pk.rebuild(state, BUILDERS["resnet20 pad"], x)
    with pytest.raises(
        PlanError, match=r"`state` is of another network: only the built network has 'features.0.weight'"
    ):
        pk.rebuild({k: v for k, v in state.items() if k != "features.0.weight"}, small_vgg, x)
    with pytest.raises(PlanError, match=r"'\S+' is \(\S+, .*\) in it and \(.*\) in the built network, and a cut only"):
        pk.rebuild(small_vgg().state_dict(), partial(pk.nets.vgg16, 1 / 32), x)
    with pytest.raises(SurgeryError, match=r"returns the shapes \[\(2, 10\)\], and as built \[\(2, 11\)\]"):
        pk.rebuild(state, partial(pk.nets.vgg16, 1 / 16, 11), x)
    with pytest.raises(SurgeryError, match=r"The network that the builder makes does not run on this example: "):
        pk.rebuild(state, small_vgg, torch.randn(1, 1, 32, 32))
    with pytest.raises(SurgeryError, match=r"These weights do not fit one another: "):
        pk.rebuild(state | {"features.3.weight": state["features.3.weight"][:, :1]}, small_vgg, x)


def test_rebuilding_finds_a_size_written_into_the_forward():
    class HardView(BUILDERS["viewed"]):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.avg_pool2d(torch.relu(self.bn(self.a(x))), 4).view(-1, 24))

    state = HardView().state_dict()
    small = {name: tensor[:3] if name[0] in "ab" and tensor.dim() else tensor for name, tensor in state.items()}
    with pytest.raises(SurgeryError, match=r"returns the shapes \[\(1, 3\)\], and as built \[\(2, 3\)\].* written"):
        pk.rebuild(small, HardView, torch.randn(2, 3, 8, 8))


def test_a_network_cut_twice_is_saved_with_both_plans(tmp_path):
    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))

    x, small, made = torch.randn(1, 3, 8, 8), build(), []
    for rate in (0.25, 0.5):
        made.append(pk.plan(pk.trace(small, x), {"0": rate}))
        small = pk.prune(small, made[-1])
    pk.save(small, made[-1], tmp_path / "last.safetensors")
    with pytest.raises(PlanError, match="cut several times is saved with all its plans"):
        pk.load(tmp_path / "last.safetensors", build)
    pk.save(small, made, tmp_path / "both.safetensors")
    assert torch.equal(pk.load(tmp_path / "both.safetensors", build)(x), small(x))
    with pytest.raises(PlanError, match="save takes the network itself, not a"):
        pk.save(small.state_dict(), made, tmp_path / "state.safetensors")  # type: ignore[arg-type]
    with pytest.raises(PlanError, match=r"save takes the plan, or plans in order"):
        pk.save(small, None, tmp_path / "none.safetensors")  # type: ignore[arg-type]
