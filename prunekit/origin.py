"""Where a result comes from: the record of a run, without anything that is private to a machine."""

import hashlib
import json
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath

import torch
from torch import nn

from .costs import device_name
from .errors import FileError
from .interrupts import uninterrupted

LIBRARIES = ("torch", "torchvision", "numpy", "pandas", "scikit-learn")
ABSOLUTE = re.compile(r"(^|=)((?:/|~|[A-Za-z]:[\\/]|\\\\).*)$")


@dataclass(frozen=True)
class Run:
    """One run: `id`, the command to repeat it, the seed, the code (`version` is `git describe` or the package's;
    `dirty` if the package differed from that), the machine (`device`, CPU `threads`), `libraries` with versions,
    when it `started` (UTC), how many `seconds` it took, and the sha256 of the `weights` measured, if any."""

    id: str
    command: str
    seed: int
    version: str
    dirty: bool
    device: str
    threads: int
    libraries: dict[str, str]
    started: str
    seconds: float
    weights: str | None

    def record(self) -> dict:
        """The fields as plain data."""
        return asdict(self)


@uninterrupted()
def begin(command: str | Sequence[str] | None, seed: int, weights: nn.Module | str | Path | None, device: str) -> Run:
    """A run that starts now. See `Ledger.run` for the arguments."""
    now = datetime.now(UTC)
    version, dirty = code()
    return Run(
        id=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        command=portable([Path(sys.argv[0]).name, *sys.argv[1:]] if command is None else command),
        seed=int(seed),
        version=version,
        dirty=dirty,
        device=device_name(device),
        threads=torch.get_num_threads(),
        libraries=libraries(),
        started=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        seconds=0.0,
        weights=None if weights is None else checksum(weights),
    )


def repository() -> Path | None:
    """The folder of the checkout that this package stands in, None for an installed copy."""
    folder = Path(__file__).resolve().parent.parent
    return folder if (folder / "pyproject.toml").is_file() else None


@lru_cache
def code() -> tuple[str, bool]:
    """Version of the running code, and whether the package has changes that the version does not name."""
    folder = repository()
    if folder is not None and (folder / ".git").exists():
        try:
            version = _git(folder, "describe", "--always", "--tags", "--abbrev=12")
            return version, bool(_git(folder, "status", "--porcelain", "--", "prunekit"))
        except (OSError, subprocess.CalledProcessError):
            pass  # no git here, or not a checkout after all
    return metadata.version("prunekit"), False


def libraries() -> dict[str, str]:
    """Versions of Python and of the libraries that results can depend on."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def checksum(weights: nn.Module | str | Path) -> str:
    """sha256 of a file, as `sha256sum` prints it; of a network, over its tensors' names, types, shapes and values."""
    if isinstance(weights, nn.Module):
        digest = hashlib.sha256()
        for name, tensor in weights.state_dict().items():
            flat = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {flat.dtype} {tuple(flat.shape)}\n".encode())
            digest.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
    try:
        with Path(weights).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError(f"The weights {weights} cannot be read: {error.strerror}.") from error


def portable(command: str | Sequence[str]) -> str:
    """A command line without machine paths: those are shortened to their last part, relative ones stay."""
    words = shlex.split(command) if isinstance(command, str) else command
    return shlex.join(ABSOLUTE.sub(_shortened, str(word)) for word in words)


def parse(text: str | None, path: Path) -> dict[str, Run]:
    """The content of runs.jsonl, by id."""
    runs = {}
    wanted = {field.name for field in fields(Run)}
    for number, line in enumerate((text or "").splitlines(), start=1):
        try:
            record = json.loads(line)
            if set(record) != wanted:
                raise ValueError(f"fields {sorted(set(record) ^ wanted)} are missing or unknown")
            runs[record["id"]] = Run(**record)
        except (ValueError, TypeError) as error:
            raise FileError(f"{path}, line {number}: not the record of a run ({error}). Restore the file.") from None
    return runs


def format(runs: Mapping[str, Run]) -> str:
    """runs.jsonl for these runs, a line each."""
    return "".join(json.dumps(run.record()) + "\n" for run in runs.values())


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def _shortened(found: re.Match) -> str:
    path = found[2]
    pure = PureWindowsPath(path) if "\\" in path or path[1:2] == ":" else PurePosixPath(path)
    return found[1] + pure.name
