"""The spelling check of `make lint` finds slips in prose, also in notebooks, and does not read figures."""

import subprocess
import sys
from pathlib import Path

import nbformat
from building import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

SLIP = "th" + "ier"


def checked(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [Path(sys.executable).with_name("codespell"), "--toml", ROOT / "pyproject.toml", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout


def test_slips_are_found_in_pages_and_notebooks(tmp_path: Path):
    (tmp_path / "page.md").write_text(f"Filters and {SLIP} maps.\n")
    nbformat.write(new_notebook(cells=[new_markdown_cell(f"Filters and {SLIP} maps.")]), tmp_path / "chapter.ipynb")
    status, said = checked(tmp_path)
    assert status != 0
    assert sorted(line.split(":")[0] for line in said.splitlines()) == ["./chapter.ipynb", "./page.md"]


def test_figures_are_not_read(tmp_path: Path):
    picture = new_output("display_data", {"image/png": f"iVBORw0KGgo/{SLIP}+" + "Ab1/" * 20 + f"{SLIP}="})
    nbformat.write(new_notebook(cells=[new_code_cell("draw()", outputs=[picture])]), tmp_path / "chapter.ipynb")
    assert checked(tmp_path) == (0, "")
