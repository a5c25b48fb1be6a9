"""torchvision must import in a fresh process: beside a CPU torch, beside a matching torch, and never hide an error."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "prunekit"
USE = """
    from prunekit._torchvision import torchvision
    import torch, torchvision.datasets, torchvision.transforms.v2
    with torch.device("meta"):
        model = torchvision.models.resnet34()
    assert sum(p.numel() for p in model.parameters()) == 21_797_672
    assert torchvision.models is sys.modules["torchvision.models"]
"""


def python(code: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter in which every warning is an error; paths go in front of ``sys.path``.

    The module under test can also be imported alone, as ``_torchvision``: a torchvision made up for a test has no
    models, so the rest of the package would not load beside it.
    """
    first = f"import sys; sys.path[:0] = {[str(p) for p in paths]}; sys.path.append({str(PACKAGE)!r})\n"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", first + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def passes(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stderr
    assert not result.stderr


@pytest.fixture
def fake(tmp_path: Path):
    """A torchvision of our own in front of the installed one."""

    def write(source: str) -> Path:
        package = tmp_path / "torchvision"
        package.mkdir()
        (package / "__init__.py").write_text(textwrap.dedent(source))
        (package / "part.py").write_text("")
        return tmp_path

    return write


def test_installed_pair():
    passes(python(USE))


def test_installed_pair_after_a_failed_import():
    passes(python("try:\n    import torchvision\nexcept RuntimeError:\n    pass\n" + textwrap.dedent(USE)))


def test_compiled_operators_still_refuse():
    code = """
        from prunekit._torchvision import torchvision
        import torch
        try:
            kept = torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), 0.5)
        except (RuntimeError, NotImplementedError) as error:
            assert "ops" in str(error) or "torchvision::nms" in str(error), error
        else:
            assert torchvision.extension._has_ops() and kept.tolist() == [0]
    """
    passes(python(code))


def test_matching_pair_is_left_alone(fake):
    folder = fake("")
    code = """
        import _torchvision
        import torch
        assert not _torchvision._declared
        assert not hasattr(torch.ops.torchvision, "nms")
    """
    passes(python(code, folder))


def test_missing_operator_is_met(fake):
    folder = fake("""
        import torch
        from torchvision import part
        try:
            torch.library.register_fake("torchvision::nms", lambda *a: a[0])
            found = torch._C._dispatch_has_kernel_for_dispatch_key("torchvision::nms", "Meta")
            torch._C._dispatch_has_kernel_for_dispatch_key("torchvision::qnms", "Meta")
        except RuntimeError:
            raise RuntimeError("operator torchvision::nms does not exist") from None
    """)
    code = """
        import _torchvision
        import torch
        assert len(_torchvision._declared) == 1
        assert "torchvision.part" in sys.modules
    """
    passes(python(code, folder))


@pytest.mark.parametrize(
    "source, message",
    [
        ("raise RuntimeError('operator torchvision::roi_align does not exist')", "roi_align does not exist"),
        ("raise ImportError('libpng is missing')", "libpng is missing"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "torchvision::nms does not exist"),
    ],
    ids=["another operator", "another kind", "not cured by declaring"],
)
def test_other_errors_come_through(fake, source: str, message: str):
    result = python("import _torchvision", fake(source))
    assert result.returncode == 1
    assert message in result.stderr
