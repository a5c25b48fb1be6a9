"""The directive `citation`: BibTeX entries for this book and for the paper that it examines, from CITATION.cff."""

from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FILE = "CITATION.cff"
KINDS = {"software": "misc", "conference-paper": "inproceedings"}  # what BibTeX calls CFF's types


def authors(people: list[dict[str, str]]) -> str:
    """Names as BibTeX wants them; one in double braces is kept whole."""
    return " and ".join(
        f"{{{p['name']}}}" if "name" in p else f"{p['family-names']}, {p['given-names']}" for p in people
    )


def bibtex(work: dict[str, Any], key: str) -> str:
    """A work of CITATION.cff as a BibTeX entry."""
    fields = {
        "title": f"{{{work['title']}}}",
        "author": authors(work["authors"]),
        "booktitle": work.get("conference", {}).get("name"),
        "year": work.get("year"),
        "version": work.get("version"),
        "url": work.get("repository-code") or work.get("url"),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{KINDS[work['type']]}{{{key},", *lines, "}"])


def entries(cff: dict[str, Any]) -> str:
    """The entry of the work itself, then those of what it refers to."""
    others = [bibtex(work, f"{work['authors'][0]['family-names'].lower()}{work['year']}") for work in cff["references"]]
    return "\n\n".join([bibtex(cff, "prunekit"), *others])


class Citation(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / FILE
        self.env.note_dependency(str(path))
        text = entries(yaml.safe_load(path.read_text(encoding="utf-8")))
        return [nodes.literal_block(text, text, language="bibtex")]


def setup(app: Sphinx) -> dict:
    app.add_directive("citation", Citation)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
