"""What the book needs to be opened on other people's machines, once its repository has a public address.

    python book/scripts/online.py --repository https://github.com/owner/name --to colab

makes copies of the notebooks for Colab, which opens a notebook alone: their first cell gets the library, results and
trained networks. They are to be committed, since Colab reads them from the repository. Binder needs no copies.
"""

import argparse
import re
import sys
from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

import student

ROOT = Path(__file__).parents[2]
COLAB = "colab"  # the folder of the copies
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+?(\.git)?/?")
INSTALL = """\
# On Colab: get the library, and the results that this chapter reads. That takes a minute or two.
!git clone -q --depth 1 --branch {branch} {repository} pruning
!pip install -q ./pruning

import os

os.environ["PRUNEKIT_RESULTS"] = os.path.abspath("pruning/results")"""


def address(text: str) -> str:
    """A repository's address without what is optional. Raises ValueError if it is not one on GitHub."""
    if not (found := ADDRESS.fullmatch(text)):
        raise ValueError(f"{text!r} is not the address of a repository: write it as https://github.com/owner/name")
    return text.rstrip("/").removesuffix(found[1] or "")


def with_buttons(config: dict, repository: str, branch: str) -> dict:
    """The configuration of the book, with buttons that lead to the repository, to Binder and to Colab."""
    buttons = {
        "notebook_interface": "jupyterlab",
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
    }
    html = config["html"] | {"use_repository_button": True, "use_issues_button": True}
    place = {"url": address(repository), "path_to_book": "", "branch": branch}
    return config | {"html": html, "repository": place, "launch_buttons": buttons}


def for_colab(notebook: NotebookNode, repository: str, branch: str) -> NotebookNode:
    """A copy that first installs what it needs; links to pages of the book become text."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = student.links(cell.source)
        else:
            cell.execution_count = None
    first = new_code_cell(INSTALL.format(repository=address(repository), branch=branch), id="colab")
    copy.cells.insert(1, first)  # below the title
    return copy


def main() -> int:
    parser = argparse.ArgumentParser(description="Make copies of the notebooks that run on Colab.")
    parser.add_argument("--repository", required=True, help="its public address, https://github.com/owner/name")
    parser.add_argument("--branch", default="main", help="branch that is cloned")
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="executed notebooks")
    parser.add_argument("--to", type=Path, default=ROOT / COLAB, help="folder of the copies, to be committed")
    options = parser.parse_args()
    try:
        address(options.repository)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    options.to.mkdir(parents=True, exist_ok=True)
    for old in options.to.glob("*.ipynb"):
        old.unlink()
    for path in sorted(options.notebooks.glob("*.ipynb")):
        copy = for_colab(nbformat.read(path, as_version=4), options.repository, options.branch)
        nbformat.write(copy, options.to / path.name)
    print(f"Commit {options.to}, and build the site with the same REPOSITORY.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
