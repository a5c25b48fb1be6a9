"""Columns of sentences in the tables that cells put out wrap, from the left; pandas writes them like numbers."""

import re

from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx

TABLE = re.compile(r'<table [^>]*class="dataframe[ "].*?</table>', re.DOTALL)
LONGEST = 24  # characters that a number, a name or an interval has; what is longer and has a space is a sentence


def wrapped(table: str) -> str:
    """The table with the class "words" on the cells and the heading of every column that holds a sentence, and on the
    names of rows that are one."""
    soup = BeautifulSoup(table, "html.parser")
    names = [name for name in soup.select("tbody th") if sentence(name)]
    rows = [row.find_all("td") for row in soup.select("tbody tr")]
    columns = min(map(len, rows), default=0)
    # Counted from the right: an index that spans several rows is missing in the later ones.
    words = {-n for n in range(1, columns + 1) if any(sentence(row[-n]) for row in rows)}
    if not words and not names:
        return table
    headings = [row.find_all("th") for row in soup.select("thead tr")]
    for cell in names + [cells[n] for cells in rows + headings[:1] for n in words]:
        cell["class"] = "words"
    return str(soup)


def sentence(cell: Tag) -> bool:
    text = cell.get_text().strip()
    return len(text) > LONGEST and " " in text


def wrap(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    if context.get("body"):
        context["body"] = TABLE.sub(lambda found: wrapped(found.group()), context["body"])


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", wrap)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
