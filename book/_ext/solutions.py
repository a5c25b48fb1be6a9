"""A folded cell that holds a solution says so; the theme would call every folded cell "code cell content"."""

from docutils import nodes
from sphinx.application import Sphinx


def rename(app: Sphinx, doctree: nodes.document) -> None:
    for cell in doctree.findall(nodes.container):
        if cell.get("hide_mode") and "solution" in cell["cell_metadata"].get("tags", []):
            cell["prompt_show"], cell["prompt_hide"] = "Show the solution", "Hide the solution"


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", rename)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
