"""A deck of slides for each chapter, as web pages that need no network; and the directive `decks`, which lists them.

    python book/_ext/decks.py --to _build/html/slides

The site has them in `slides/`. reveal.js comes from the package sphinx-revealjs, MathJax from sphinx-mathjax-offline.
"""

import argparse
import html
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
from docutils import nodes
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import slides
from claims import judged, kind, mark
from lessons import title
from offline import copy_mathjax, copy_parts

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "deck"  # template and style
PARTS = ("LICENSE", "dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js")
DOCUMENT = re.compile(r"\.(md|ipynb)(?=$|#)")


def markdown() -> MarkdownIt:
    """Plain Markdown with formulas, which are left to MathJax; links lead from a deck to the pages of the book."""

    def formula(content: str, options: dict) -> str:
        left, right = (r"\[", r"\]") if options["display_mode"] else (r"\(", r"\)")
        return f"{left}{html.escape(content)}{right}"

    def link(self, tokens, i, options, env):
        address = tokens[i].attrs["href"]
        if "://" not in address:
            inside = address if address.startswith("../") else f"../notebooks/{address}"
            tokens[i].attrs["href"] = DOCUMENT.sub(".html", inside)
        return self.renderToken(tokens, i, options, env)

    parser = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, renderer=formula)
    parser.add_render_rule("link_open", link)
    return parser


def build(notebooks: Path, results: str | None, to: Path) -> list[Path]:
    """A deck for each notebook, in place of what was in the folder; their files."""
    shutil.rmtree(to, ignore_errors=True)
    (to / "images").mkdir(parents=True)
    add_programs(to / "programs")
    shutil.copy(HERE / "deck.css", to)
    pages = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    pages.filters |= {"markdown": markdown().render, "mark": mark, "kind": kind}
    made = []
    for path in sorted(notebooks.glob("*.ipynb")):
        deck = slides.of_chapter(nbformat.read(path, as_version=4), path.stem, judged(results))
        for image in [slide.image for slide in deck if slide.image]:
            (to / "images" / image.name).write_bytes(image.content)
        made.append(to / f"{path.stem}.html")
        made[-1].write_text(pages.get_template("deck.html").render(slides=deck, stem=path.stem), encoding="utf-8")
    return made


def add_programs(to: Path) -> None:
    """reveal.js and MathJax."""
    copy_parts("sphinx_revealjs", "sphinx-revealjs", "_static/revealjs", PARTS, to / "reveal")
    copy_mathjax(to / "mathjax")


class Decks(SphinxDirective):
    """Links to all decks."""

    def run(self) -> list[nodes.Node]:
        up, items = "../" * self.env.docname.count("/"), []
        for path in sorted((Path(self.env.srcdir) / "notebooks").glob("*.ipynb")):
            name = html.escape(title(nbformat.read(path, as_version=4)))
            items.append(f'<li><a href="{up}slides/{path.stem}.html">{name}</a></li>')
        if not items:
            return [nodes.paragraph("", "There are no chapters in this copy of the project.")]
        return [nodes.raw("", f'<ul class="decks">{"".join(items)}</ul>', format="html")]


def finish(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        build(Path(app.srcdir) / "notebooks", os.environ.get("PRUNEKIT_RESULTS"), Path(app.outdir) / "slides")


def setup(app: Sphinx) -> dict:
    app.add_directive("decks", Decks)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a deck of slides for each chapter.")
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="executed notebooks")
    parser.add_argument("--results", default=str(ROOT / "results"), help="ledger by which claims are judged")
    parser.add_argument("--to", type=Path, required=True, help="folder of the decks, which is replaced")
    options = parser.parse_args()
    made = build(options.notebooks, options.results, options.to)
    print(f"{len(made)} decks are in {options.to}. Open {made[0] if made else 'none'} in a browser.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
