"""A book with a public repository: buttons lead to places that exist there; without one there are no buttons."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from building import ROOT, small_root
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import online
from execute import METADATA

REPOSITORY = "https://github.com/owner/some.name"


@pytest.mark.parametrize("text", [REPOSITORY, f"{REPOSITORY}/", f"{REPOSITORY}.git", f"{REPOSITORY}.git/"])
def test_an_address_is_written_in_one_way(text: str):
    assert online.address(text) == REPOSITORY


@pytest.mark.parametrize("text", ["owner/name", "https://example.org/owner/name", f"{REPOSITORY}/tree/main", "; ls"])
def test_what_is_no_repository_is_refused(text: str):
    with pytest.raises(ValueError, match="not the address of a repository"):
        online.address(text)


def test_the_copy_for_colab_begins_with_what_it_needs():
    text = "# Title\n\nSee [claims](../book/claims.md)."
    notebook = new_notebook(cells=[new_markdown_cell(text), new_code_cell("1 + 1", execution_count=1)])
    copy = online.for_colab(notebook, REPOSITORY, "trunk")
    nbformat.validate(copy)
    assert [cell.cell_type for cell in copy.cells] == ["markdown", "code", "code"]
    assert copy.cells[0].source == "# Title\n\nSee claims." and copy.cells[2].execution_count is None
    install = copy.cells[1].source
    assert f"--branch trunk {REPOSITORY} pruning\n" in install
    ast.parse(TransformerManager().transform_cell(install))
    assert notebook.cells[0].source == text and len(notebook.cells) == 2


def test_what_the_copy_installs_has_all_that_it_reads(tmp_path: Path):
    """The last lines of its first cell, beside a clone of the project: its results are found."""
    shutil.copytree(ROOT / "results", tmp_path / "pruning" / "results")
    setting = online.INSTALL.partition("\n\n")[2]
    code = f"{setting}\nfrom prunekit.paper.settings import largest\nprint(largest('sensitivity-vgg16').folder)"
    environment = {k: v for k, v in os.environ.items() if k != "PRUNEKIT_RESULTS"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "pruning" / "results"), done.stderr


def test_all_notebooks_are_copied(tmp_path: Path):
    command = [sys.executable, ROOT / "book" / "scripts" / "online.py", "--to", tmp_path / "colab", "--repository"]
    refused = subprocess.run([*command, "somewhere"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "https://github.com/owner/name" in refused.stderr
    assert not (tmp_path / "colab").exists()
    assert subprocess.run([*command, REPOSITORY], capture_output=True, check=False).returncode == 0
    names = [path.name for path in sorted((tmp_path / "colab").iterdir())]
    assert names == [path.name for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


@pytest.fixture
def small_book(tmp_path: Path) -> Path:
    """A book of one notebook with the project's own configuration."""
    root = small_root(tmp_path / "root", "notebooks/01_a")
    cells = [
        new_markdown_cell("# **It** holds\n\n**In this chapter** you will see."),
        new_markdown_cell("## Summary\n\n- One."),
    ]
    nbformat.write(new_notebook(cells=cells, metadata=METADATA), root / "notebooks" / "01_a.ipynb")
    return root


def buttons(page: Path) -> dict[str, str]:
    """The buttons at the top of a page that lead to other sites, by their text."""
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    links = soup.select(".article-header-buttons a[href^=http]")
    return {link.get_text(strip=True): str(link["href"]) for link in links}


def test_buttons_lead_to_the_repository_if_there_is_one(small_book: Path):
    folders = ["--root", small_book, "--notebooks", small_book / "notebooks", "--to", small_book]
    command = [sys.executable, ROOT / "book" / "scripts" / "website.py", *folders, "--results", small_book / "results"]
    command += ["--repository", f"{REPOSITORY}.git", "--branch", "trunk"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = buttons(small_book / "_build" / "html" / "notebooks" / "01_a.html")
    assert found["Binder"] == "https://mybinder.org/v2/gh/owner/some.name/trunk?urlpath=lab/tree/notebooks/01_a.ipynb"
    colab = "https://colab.research.google.com/github/owner/some.name/blob/trunk"
    assert found["Colab"] == f"{colab}/{online.COLAB}/01_a.ipynb"
    assert found["Repository"] == REPOSITORY


def test_without_a_repository_there_are_none(site: Path):
    assert {path.name: buttons(path) for path in (site / "notebooks").glob("*.html") if buttons(path)} == {}


def test_binder_sees_that_the_environment_needs_the_repository():
    """repo2docker copies the repository before it installs if a line names a local file, and only then."""
    pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    assert any(line.startswith(("-e .", "-c ")) for line in pip)
