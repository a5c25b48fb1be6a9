"""What Sphinx and its themes write that gets into the way of a screen reader, put right on every page.

Each is a pattern of the HTML and what takes its place; `tests/test_browser.py` finds out when one is needed no more, or
another one is.
"""

import re

from sphinx.application import Sphinx

REPAIRS: list[tuple[re.Pattern[str], str]] = [
    # Sphinx sets the parameters of a long signature as a list of definitions without anything that is defined.
    (re.compile(r"<dl>\n((?:<dd>.*?</dd>\n?)+)</dl>", re.DOTALL), r'<span class="sig-parameters">\1</span>'),
    (re.compile(r"<dd>(<em class=\"sig-param\">.*?)</dd>", re.DOTALL), r'<span class="sig-parameter">\1</span>'),
    # docutils calls the references a list whose entries have a role that ARIA has given up, and that no list may hold.
    (re.compile(r'<div role="list" class="citation-list">'), '<div class="citation-list">'),
    (re.compile(r'(<div class="citation" id="[^"]*") role="doc-biblioentry">'), r"\1>"),
    # MyST-NB names every folded cell alike, over the words that say what is in it.
    (re.compile(r'<summary aria-label="Toggle hidden content">'), "<summary>"),
]


def repaired(body: str) -> str:
    for pattern, better in REPAIRS:
        body = pattern.sub(better, body)
    return body


def repair(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    if context.get("body"):
        context["body"] = repaired(context["body"])


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", repair)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
