"""What a chapter's executed notebook holds for a lecture, as slides.

A slide for the title, for each figure (its caption is the finding; the text that reads it is for the speaker), for each
table that can be read from afar, for the verdicts on the chapter's claims, for each exercise and for the summary.
"""

import base64
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from nbformat import NotebookNode

from chapters import chapters
from lessons import for_exercises, tags
from prunekit.paper.claims import CLAIMS
from prunekit.paper.judging import Verdict, summary

MOST_ROWS, MOST_SIGNS = 8, 82  # of a table that fits on a slide in large type: below its head, in a row
GAP = 3  # signs between two columns
MOST_CLAIMS, FEW = 4, 8  # on one slide; of more than few claims, only the number with each verdict is told
TALL = 1.25  # a figure that is less wide than this times its height stands beside its caption
ABOUT = "**In this chapter**"  # so begins what a chapter will do
TABLE = re.compile(r"<table.*?</table>", re.DOTALL)
CELL = re.compile(r"<t[hd][^>]*>(.*?)</t[hd]>", re.DOTALL)
SOURCES = {"image/png": "png", "image/svg+xml": "svg"}


Judged = tuple[str, str, Verdict]  # a claim's id, its meaning, the verdict


@dataclass(frozen=True)
class Image:
    """A figure's file, its description, and whether it stands beside its caption."""

    name: str
    content: bytes
    alt: str
    tall: bool


@dataclass(frozen=True)
class Slide:
    """One slide: a heading, Markdown, at most one image, a table as HTML, verdicts; and Markdown for the speaker."""

    kind: str
    heading: str
    text: str = ""
    notes: str = ""
    image: Image | None = None
    table: str = ""
    verdicts: tuple[Judged, ...] = ()


def of_chapter(notebook: NotebookNode, stem: str, found: Mapping[str, Verdict]) -> list[Slide]:
    """The slides of the chapter in the file `stem`, with the verdicts `found` on all claims."""
    title, about, intro = opening(notebook.cells[0].source)
    told = list(of_claims(stem, found))
    middle, end = [], []
    heading = title
    for i, cell in enumerate(notebook.cells):
        if prose(cell):
            heading = [heading, *re.findall(r"^## (.+)$", cell.source, flags=re.MULTILINE)][-1]
        notes = following(notebook.cells, i)
        if "figure" in cell.metadata.get("mystnb", {}):
            middle.append(Slide("figure", heading, cell.metadata.mystnb.figure.caption, notes, image=image(cell)))
        elif table := legible(cell):
            middle.append(Slide("table", heading, before(notebook.cells, i), notes, table=table))
        elif cell.cell_type == "markdown" and "exercise" in tags(cell):
            name, task = cell.source.removeprefix("### ").split("\n", 1)
            end.append(Slide("exercise", name, task.strip(), "The chapter has a cell that checks the answer."))
        elif heading == "Summary" and prose(cell):
            end.append(Slide("summary", heading, cell.source.partition("## Summary")[2].strip()))
    return [Slide("title", title, about, intro), *middle, *told, *end]


def prose(cell: NotebookNode) -> bool:
    return cell.cell_type == "markdown" and not for_exercises(cell)


def opening(source: str) -> tuple[str, str, str]:
    """The title of a chapter, what it will do, and the rest of its first cell."""
    title, _, rest = source.partition("\n")
    paragraphs = rest.strip().split("\n\n")
    about = [p for p in paragraphs if p.startswith(ABOUT)]
    return title.removeprefix("# "), "\n\n".join(about), "\n\n".join(p for p in paragraphs if p not in about)


def following(cells: list[NotebookNode], at: int) -> str:
    """The text that reads an output: what stands behind its cell, up to the next heading."""
    after = cells[at + 1].source if at + 1 < len(cells) and prose(cells[at + 1]) else ""
    return re.split(r"^#+ ", after, maxsplit=1, flags=re.MULTILINE)[0].strip()


def before(cells: list[NotebookNode], at: int) -> str:
    """What announces an output: the last sentence in front of its cell, if it ends in a colon or a question."""
    while at > 0 and cells[at - 1].cell_type == "code":
        at -= 1
    paragraph = cells[at - 1].source.strip().split("\n\n")[-1] if at > 0 else ""
    last = re.split(r"(?<=[.:?]) ", " ".join(paragraph.split()))[-1]
    return last if last.endswith((":", "?")) and not paragraph.startswith("#") else ""


def image(cell: NotebookNode) -> Image:
    """The image that a figure's cell shows."""
    kind, data = next((k, o.data[k]) for o in cell.outputs for k in SOURCES if k in o.get("data", {}))
    content = base64.b64decode(data) if kind == "image/png" else data.encode()
    tall = kind == "image/png" and ratio(content) < TALL
    return Image(f"{cell.metadata.mystnb.figure.name}.{SOURCES[kind]}", content, cell.metadata.mystnb.image.alt, tall)


def ratio(png: bytes) -> float:
    """Width by height of a PNG, which begins with them."""
    width, height = struct.unpack(">II", png[16:24])
    return width / height


def legible(cell: NotebookNode) -> str:
    """The table among a cell's outputs as HTML, if it has few enough rows and signs; solutions and blanks have none."""
    if cell.cell_type != "code" or for_exercises(cell):
        return ""
    texts = [o.data["text/html"] for o in cell.outputs if "text/html" in o.get("data", {})]
    found = TABLE.search("".join(texts))
    if not found:
        return ""
    head = found.group().partition("</thead>")[0].count("<tr")
    rows = [CELL.findall(row) for row in found.group().split("<tr")[1:]]
    wide = sum(max(map(len, column)) + GAP for column in zip_longest(*rows, fillvalue=""))
    return found.group() if len(rows) - head <= MOST_ROWS and wide <= MOST_SIGNS else ""


def of_claims(stem: str, found: Mapping[str, Verdict]) -> Iterator[Slide]:
    """The verdicts on the claims that the chapter shows."""
    mine = [(id, CLAIMS[id].meaning, v) for id, v in found.items() if f"notebooks/{stem}" in chapters(id)]
    if len(mine) > FEW:
        yield Slide("verdicts", "What held", summary([v.verdict for _, _, v in mine]), numbers(mine))
        return
    parts = math.ceil(len(mine) / MOST_CLAIMS)
    for part in range(parts):
        some = mine[part * len(mine) // parts : (part + 1) * len(mine) // parts]
        yield Slide("verdicts", "What held", notes=numbers(some), verdicts=tuple(some))


def numbers(claims: list[Judged]) -> str:
    """What the verdicts rest on, for the speaker."""
    return "\n\n".join(f"{id}: {verdict.numbers}." for id, _, verdict in claims)
