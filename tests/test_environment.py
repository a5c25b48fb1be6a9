"""pyproject.toml, constraints.txt, environment.yml, Makefile and the installed packages tell one story."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import prunekit

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
IMPORT_NAMES = {"scikit-learn": "sklearn"}  # where the import is not the package's name
CUDA = re.compile(r"^(nvidia|cuda)-|^triton$")  # torch itself pins these, and only builds with CUDA have them


def locked() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def needed(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> set[str]:
    """Every installed package that `name` needs with these extras, itself included."""
    name = str(canonicalize_name(name))
    if (name, extras) in seen:
        return set()
    seen.add((name, extras))
    found = {name}
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            found |= needed(requirement.name, frozenset(requirement.extras), seen)
    return found


def test_constraints_name_versions_and_nothing_else():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line


def test_constraints_satisfy_the_project():
    everything = PROJECT["project"]["dependencies"] + [r for extra in EXTRAS.values() for r in extra]
    for requirement in map(Requirement, everything):
        assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)]), requirement


def test_constraints_are_what_is_needed_and_installed():
    packages = {n for n in needed("prunekit", frozenset(EXTRAS), set()) if not CUDA.search(n)} - {"prunekit"}
    versions = {name: Version(metadata.version(name)).public for name in packages}
    assert {name: Version(version).public for name, version in locked().items()} == versions


def test_conda_environment_rests_on_the_same_files():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert Requirement(python.replace("=", "==")).specifier.contains("3.11")
    assert Requirement(f"python{PROJECT['project']['requires-python']}").specifier.contains("3.11")
    assert pip == "pip"
    constraints, project = packages["pip"]
    assert constraints == "-c constraints.txt"
    assert project == f"-e .[{','.join(EXTRAS)}]"


def test_conda_environment_resolves(tmp_path: Path):
    """pip accepts the part of environment.yml that it is given; all is installed here, so no index is asked."""
    packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    given = tmp_path / "requirements.txt"
    given.write_text("\n".join(packages).replace("-c constraints.txt", f"-c {(ROOT / 'constraints.txt').as_posix()}"))
    offline = ["--dry-run", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *offline, "-r", given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"Would install prunekit-[\d.]+\s*$", done.stdout), done.stdout[-500:]


def test_make_installs_the_same_extras():
    lines = re.findall(r"-e '\.\[(.*?)\]'", (ROOT / "Makefile").read_text())
    assert lines and set(lines) == {",".join(EXTRAS)}


@pytest.mark.parametrize("folder, extras", [("prunekit", []), ("tests", ["book", "test"]), ("book", ["book"])])
def test_imports_are_declared(folder: str, extras: list[str]):
    declared = PROJECT["project"]["dependencies"] + [r for extra in extras for r in EXTRAS[extra]]
    packages = [canonicalize_name(Requirement(text).name) for text in declared]
    owners = metadata.packages_distributions()
    closure: set[str] = set(packages)
    if "book" in extras:  # jupyter-book is Sphinx and its parsers, taken together
        closure = closure | needed("jupyter-book", frozenset(), set())
    own = {path.stem for path in ROOT.glob(f"{folder}/**/*.py")} | {path.stem for path in ROOT.glob("book/*/*.py")}
    undeclared = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for top in {name.partition(".")[0] for name in names}:
                if top in sys.stdlib_module_names or top in own or top == "prunekit":
                    continue
                if closure.isdisjoint(canonicalize_name(owner) for owner in owners.get(top, [top])):
                    undeclared.append(f"{path.relative_to(ROOT)}: {top}")
    assert undeclared == []


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version = PROJECT["project"]["version"]
    assert prunekit.__version__ == version == citation["version"] == metadata.version("prunekit")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_nothing_points_to_a_neighboring_folder():
    """Only .ci/run may know what lies beside the project."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    beside = "../" + "shared"
    knowing = [f for f in files if (ROOT / f).is_file() and beside.encode() in (ROOT / f).read_bytes()]
    assert knowing == [".ci/run"]


@pytest.mark.parametrize("beside", [True, False], ids=["data beside", "no data"])
def test_ci_calls_make_test_with_the_data_it_finds(tmp_path: Path, beside: bool):
    project = tmp_path / "project"
    (project / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", project / ".ci" / "run")
    data = tmp_path / "shared" / "data"
    if beside:
        data.mkdir(parents=True)
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text('#!/bin/sh\necho "$PWD: make $*, ${PRUNEKIT_DATA-unset}"\nexit 3\n')
    make.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "PRUNEKIT_DATA"}
    done = subprocess.run(
        [project / ".ci" / "run"],
        env=environment | {"PATH": f"{make.parent}{os.pathsep}{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{project}: make test, {data if beside else 'unset'}\n"
    assert done.returncode == 3
