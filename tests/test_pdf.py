"""The book as a PDF: whole, numbered, linked, and of nothing but the book."""

import re
from pathlib import Path
from unicodedata import normalize

import pytest
import yaml
from building import ROOT
from playwright.sync_api import Browser
from pypdf import PageObject, PdfReader
from pypdf.generic import Destination

import joining
import pdf

TITLE = yaml.safe_load((ROOT / "_config.yml").read_text())["title"]


@pytest.fixture(scope="module")
def book(browser: Browser, site: Path, tmp_path_factory: pytest.TempPathFactory) -> PdfReader:
    to = tmp_path_factory.mktemp("pdf") / "book.pdf"
    pages = pdf.make(ROOT, site, to, browser)
    reader = PdfReader(to)
    assert len(reader.pages) == pages
    return reader


@pytest.fixture(scope="module")
def texts(book: PdfReader) -> list[str]:
    """What is written on each page; letters that are joined in print, as in "filter", count as two."""
    return [" ".join(normalize("NFKC", page.extract_text()).split()) for page in book.pages]


def links(page: PageObject) -> list[dict]:
    found = [annotation.get_object() for annotation in page.get("/Annots") or []]
    return [annotation for annotation in found if annotation["/Subtype"] == "/Link"]


def heading(site: Path, page: str) -> str:
    """The title of a page of the site, as its file says it."""
    whole = joining.BeautifulSoup((site / f"{page}.html").read_text(encoding="utf-8"), "html.parser")
    found = whole.select_one("article h1")
    assert found is not None
    for tag in found.select(".headerlink"):
        tag.decompose()
    return " ".join(normalize("NFKC", found.get_text()).split())


def test_a_title_page_stands_in_front(texts: list[str]):
    front = texts[0]
    assert TITLE in front and "Version" in front and "solutions and answers stand at the end" in front


def test_chapters_are_on_the_pages_that_the_contents_name(book: PdfReader, texts: list[str], site: Path):
    assert len(book.pages) > 20
    names = joining.pages(ROOT)
    starts = {name.removeprefix("/"): where for name, where in book.named_destinations.items()}
    numbers = {name: book.get_destination_page_number(starts[joining.mark(name)]) or 0 for name in names}
    contents = " ".join(texts[1 : min(numbers.values())])
    assert "Contents" in contents and "000" not in contents
    for name, number in numbers.items():
        title = heading(site, name)
        assert texts[number].count(title) >= 2, "as the heading, and above the page"
        assert f"{title} {number + 1}" in contents, name
        assert re.search(rf"(?<!\d){number + 1}\s*{TITLE}", texts[number]), "every page shows its number"
    assert list(numbers.values()) == sorted(numbers.values())


def test_solutions_stand_at_the_end_and_are_linked_both_ways(book: PdfReader, texts: list[str]):
    def pages(of: str) -> list[int]:
        return [book.get_destination_page_number(d) or 0 for name, d in book.named_destinations.items() if of in name]

    (start,) = pages("/solutions") or pages("solutions")
    exercises, solutions = pages("exercise-of-"), pages("solution-of-")
    assert len(exercises) == len(solutions) > 20
    assert max(exercises) < start <= min(solutions)
    assert "Hide the solution" not in "".join(texts)


def test_links_lead_into_the_book_or_to_the_web(book: PdfReader, texts: list[str]):
    inside, outside = [], []
    for page in book.pages:
        for link in links(page):
            if "/A" in link and "/URI" in link["/A"]:
                outside.append(str(link["/A"]["/URI"]))
            else:
                inside.append(str(link["/Dest"] if "/Dest" in link else link["/A"]["/D"]))
    assert [address for address in outside if not address.startswith(("https://", "http://", "mailto:"))] == []
    places = set(book.named_destinations)
    assert len(inside) > 100 and [place for place in inside if place not in places] == []
    assert "file:///" not in "".join(texts)


def test_the_outline_has_every_chapter_and_formulas_are_set(book: PdfReader, texts: list[str], site: Path):
    flat, stack = [], list(book.outline)
    while stack:
        entry = stack.pop(0)
        if isinstance(entry, Destination):
            # Chromium leaves the space out where a line ends.
            flat.append("".join(normalize("NFKC", str(entry.title)).split()))
        else:
            stack = [*entry, *stack]
    titles = [heading(site, name) for name in joining.pages(ROOT)]
    assert [title for title in titles if "".join(title.split()) not in flat] == []
    assert "\\frac" not in "".join(texts)


# How pages are joined, on two small ones.

FIRST = """<html><head><link rel="stylesheet" href="../_static/a.css"><script>window.MathJax = {}</script>
<script src="../_static/menu.js"></script></head><body><nav>menu</nav><article class="bd-article"><section id="top">
<h1>One<a class="headerlink" href="#top">#</a></h1><p id="same">first</p><a href="#same">here</a>
<a href="two.html#same">there</a><a href="two.html">two</a><a href="../book/results.html">rows</a>
<a href="../data.csv">data</a><a href="https://example.org/">web</a><img src="a.png" alt="A">
<section id="exercise-1"><h3>Exercise 1</h3><div class="cell tag_solution"><details class="hide"><summary>Show</summary>
<pre>answer = 4</pre></details></div></section>
<details class="hide"><summary>Show the code</summary><pre>plot()</pre></details>
<details><summary>what decides</summary><p>a rule</p></details></section></article></body></html>"""
SECOND = '<html><head></head><body><article><h1>Two</h1><p id="same">second</p></article></body></html>'


@pytest.fixture
def small(tmp_path: Path) -> joining.BeautifulSoup:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "one.html").write_text(FIRST)
    (tmp_path / "book" / "two.html").write_text(SECOND)
    parts = [("", ["book/one"]), ("More", ["book/two"])]
    return joining.BeautifulSoup(joining.joined(tmp_path, parts, "Title", "<p>About</p>"), "html.parser")


def test_links_between_pages_become_links_in_the_document(small: joining.BeautifulSoup, tmp_path: Path):
    article = small.select_one("#book-one")
    assert article is not None
    leads = {link.get_text(): link["href"] for link in article.select("a")}
    assert leads == {
        "here": "#book-one--same",
        "there": "#book-two--same",
        "two": "#book-two",
        "web": "https://example.org/",
        "Solution": "#book-one--solution-of-1",
    }
    ids = [tag["id"] for tag in small.select("[id]")]
    assert len(ids) == len(set(ids)) and {"book-one--same", "book-two--same"} <= set(ids)
    assert "rows" in article.get_text() and "data" in article.get_text(), "words stay where a link has no place"
    picture = article.img
    assert picture is not None and picture["src"] == (tmp_path / "book" / "a.png").resolve().as_uri()


def test_solutions_move_code_of_figures_goes_and_the_rest_unfolds(small: joining.BeautifulSoup):
    first, solutions = small.select_one("#book-one"), small.select_one("article#solutions")
    assert first is not None and solutions is not None
    assert "answer = 4" not in first.get_text() and "answer = 4" in solutions.get_text()
    assert [link.get_text() for link in solutions.select("h3 a")] == ["Exercise 1"]
    assert "plot()" not in small.get_text() and "Show" not in solutions.get_text()
    assert [details.get("open") for details in small.select("details")] == [""]
    assert [link["href"] for link in small.select(".book-contents a")] == ["#book-one", "#book-two", "#solutions"]
    assert len(small.select("script")) == 1, "only what sets formulas"


def test_a_site_that_lacks_pages_is_not_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["pdf.py", "--site", str(tmp_path), "--to", str(tmp_path / "book.pdf")])
    assert pdf.main() == 1
    assert "lacks book/introduction" in capsys.readouterr().err
    assert not (tmp_path / "book.pdf").exists()
