"""Decks of slides: they hold what the chapters hold, described and without a network, and fit on a screen."""

import unicodedata
from pathlib import Path

import nbformat
import pytest
from browsing import watched
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Browser
from pypdf import PdfReader

import chromium
import decks
import slides
from claims import judged
from prunekit.paper.judging import HOLDS, Verdict

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAYAAAD0In+KAAAADklEQVR4nGNgYGD4DwABBAEAX+XDSwAAAABJRU5ErkJggg=="
SMALL = "<table><thead><tr><th></th><th>rate</th></tr></thead><tbody><tr><th>a</th><td>0.5</td></tr></tbody></table>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("site") / "slides"
    decks.build(ROOT / "notebooks", str(ROOT / "results"), to)
    return to


def deck(folder: Path, stem: str) -> BeautifulSoup:
    return BeautifulSoup((folder / f"{stem}.html").read_text(encoding="utf-8"), "html.parser")


def figures(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell.metadata.mystnb for cell in notebook.cells if "figure" in cell.metadata.get("mystnb", {})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_figure_and_exercise_has_its_slide(path: Path, folder: Path):
    notebook, soup = nbformat.read(path, as_version=4), deck(folder, path.stem)
    shown = soup.select("section.figure")
    assert [s.img["alt"] for s in shown] == [f.image.alt for f in figures(notebook)]
    assert [s.img["src"] for s in shown] == [f"images/{f.figure.name}.png" for f in figures(notebook)]
    assert all((folder / str(s.img["src"])).stat().st_size > 1000 for s in shown)
    wanted = [" ".join(decks.markdown().render(f.figure.caption).split()) for f in figures(notebook)]
    assert [" ".join(s.figcaption.decode_contents().split()) for s in shown] == wanted
    tasks = [c.source for c in notebook.cells if c.cell_type == "markdown" and "exercise" in slides.tags(c)]
    assert [s.h2.get_text() for s in soup.select("section.exercise")] == [
        task.splitlines()[0].removeprefix("### ") for task in tasks
    ]
    assert [h1.get_text() for h1 in soup.select("h1")] == [notebook.cells[0].source.splitlines()[0].removeprefix("# ")]
    assert len(soup.select("section.summary li")) >= 3


def test_figures_are_read_to_the_speaker(folder: Path):
    (first, _) = deck(folder, "05_sensitivity").select("section.figure")
    assert first.select_one("aside.notes").get_text().startswith("Read it by regions.")


def test_verdicts_are_those_of_the_ledger(folder: Path):
    found = judged(str(ROOT / "results"))
    lines = deck(folder, "05_sensitivity").select("ul.verdicts li")
    ids = [id for id in found if id.startswith("2b") or id == "2a.2"]
    assert [line.select_one(".verdict").get_text(strip=True) for line in lines] == [found[id].verdict for id in ids]
    assert [line.small.get_text().partition(",")[0] for line in lines] == ids


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_nothing_is_loaded_from_elsewhere_and_links_lead_to_the_site(path: Path, folder: Path):
    soup = deck(folder, path.stem)
    for tag, name in (("script", "src"), ("link", "href"), ("img", "src")):
        for address in [str(found[name]) for found in soup.select(f"{tag}[{name}]")]:
            assert (folder / address).is_file(), address
    links = [str(a["href"]).partition("#")[0] for a in soup.select("a[href]") if "://" not in str(a["href"])]
    pages = {f"../{p.parent.name}/{p.stem}.html" for p in [*NOTEBOOKS, *(ROOT / "book").glob("*.md")]}
    assert set(links) <= pages


def test_formulas_are_left_to_the_copy_of_mathjax():
    assert "\\(n &lt; k^2\\)</span>." in decks.markdown().render("It costs $n < k^2$.")
    assert "\\[x\\]" in decks.markdown().render("$$\nx\n$$")


def chapter(*cells: NotebookNode) -> list[slides.Slide]:
    first = new_markdown_cell("# It holds\n\nA beginning.\n\n**In this chapter** you will see.")
    return slides.of_chapter(new_notebook(cells=[first, *cells]), "05_sensitivity", {"2b.1": Verdict(HOLDS, "n", "x")})


def figure(**more: object) -> NotebookNode:
    metadata = {"mystnb": {"figure": {"caption": "It falls.", "name": "fig-x"}, "image": {"alt": "A line."}}, **more}
    return new_code_cell("plot()", metadata=metadata, outputs=[new_output("display_data", {"image/png": PIXEL})])


def test_a_chapter_becomes_slides_in_its_order():
    found = chapter(
        new_markdown_cell("## Part one\n\nA text."),
        figure(),
        new_markdown_cell("Read it so.\n\n## Part two\n\nNot about it. And as a table:"),
        new_code_cell("table", outputs=[new_output("execute_result", {"text/html": f"<div>{SMALL}</div>"})]),
        new_markdown_cell("### Exercise 1: how many\n\nCount.", metadata={"tags": ["exercise"]}),
        new_code_cell("x", metadata={"tags": ["solution"]}, outputs=[new_output("display_data", {"text/html": SMALL})]),
        new_markdown_cell("## Summary\n\n- One.\n- Two."),
    )
    assert [(s.kind, s.heading, s.text) for s in found] == [
        ("title", "It holds", "**In this chapter** you will see."),
        ("figure", "Part one", "It falls."),
        ("table", "Part two", "And as a table:"),
        ("verdicts", "What held", ""),
        ("exercise", "Exercise 1: how many", "Count."),
        ("summary", "Summary", "- One.\n- Two."),
    ]
    assert found[1].notes == "Read it so." and found[0].notes == "A beginning."
    assert found[1].image == slides.Image("fig-x.png", found[1].image.content, "A line.", tall=False)
    assert slides.ratio(found[1].image.content) == 2
    assert found[3].verdicts[0][0] == "2b.1"


@pytest.mark.parametrize(
    "table, legible",
    [
        (SMALL, True),
        (SMALL.replace("<tbody>", "<tbody>" + "<tr><td>1</td></tr>" * (slides.MOST_ROWS - 1)), True),
        (SMALL.replace("<tbody>", "<tbody>" + "<tr><td>1</td></tr>" * slides.MOST_ROWS), False),
        (SMALL.replace("0.5", "5" * slides.MOST_SIGNS), False),
    ],
)
def test_only_tables_that_can_be_read_from_afar_are_shown(table: str, legible: bool):
    cell = new_code_cell("table", outputs=[new_output("execute_result", {"text/html": table})])
    assert bool(slides.legible(cell)) is legible


def test_many_claims_are_counted_and_some_are_spread_evenly():
    found = judged(str(ROOT / "results"))
    (told,) = slides.of_claims("11_table_1", found)
    assert told.text.startswith("Of ") and not told.verdicts
    assert [len(slide.verdicts) for slide in slides.of_claims("05_sensitivity", found)] == [3, 3]


# In a browser


def test_slides_fit_and_nothing_goes_wrong(browser: Browser, folder: Path):
    for path in sorted(folder.glob("*.html")):
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        complaints = watched(page)
        chromium.show(page, path.as_uri())
        page.wait_for_function("Reveal.isReady()")
        for number in range(page.evaluate("Reveal.getTotalSlides()")):
            page.evaluate(f"Reveal.slide({number})")
            size = page.evaluate("[Reveal.getCurrentSlide().scrollHeight, Reveal.getCurrentSlide().scrollWidth]")
            assert size[0] <= 720 and size[1] <= 1280, f"{path.name}, slide {number + 1}: {size}"
        assert complaints == [], path.name
        page.close()


def test_keys_turn_pages_and_formulas_are_set(browser: Browser, folder: Path):
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    chromium.show(page, (folder / "06_smallest_random_largest.html").as_uri())
    page.wait_for_function("Reveal.isReady()")
    assert page.query_selector("section.title mjx-container")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("Reveal.getIndices().h") == 1
    page.keyboard.press("End")
    assert page.evaluate("Reveal.isLastSlide()")
    page.close()


def test_a_deck_prints_a_page_for_each_slide(browser: Browser, folder: Path, tmp_path: Path):
    page = browser.new_page()
    chromium.show(page, (folder / "05_sensitivity.html").as_uri() + "?print-pdf")
    page.wait_for_selector(".pdf-page")
    page.pdf(path=tmp_path / "deck.pdf", prefer_css_page_size=True, print_background=True)
    pages = PdfReader(tmp_path / "deck.pdf").pages
    assert len(pages) == len(deck(folder, "05_sensitivity").select("section"))
    text = unicodedata.normalize("NFKC", pages[0].extract_text())  # without ligatures
    assert "Layers differ in how much" in " ".join(text.split())
    page.close()
