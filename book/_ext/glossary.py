"""Notebooks may link to an entry of the glossary as they link to a heading: ../book/glossary.md#term-filter.

Roles would show as raw text in Jupyter, and MyST knows headings only as places of a page to link to.
"""

from docutils import nodes
from sphinx.application import Sphinx


def offer_terms(app: Sphinx, doctree: nodes.document) -> None:
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for term in doctree.findall(nodes.term):
        slugs |= {id: (term.line, id, term.astext()) for id in term["ids"] if id.startswith("term-")}


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", offer_terms)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
