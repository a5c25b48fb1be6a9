"""The built site: every link inside it leads somewhere, nothing is asked of another site, everything is described."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup, Tag
from building import ROOT, built, small_root

import chapters
import prunekit
from prunekit.ledger import Ledger
from prunekit.paper import claims
from prunekit.paper.judging import FAILS, IN_PART, VERDICTS


@cache
def page(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def pages(site: Path) -> list[Path]:
    return sorted(p for p in site.rglob("*.html") if "_static" not in p.relative_to(site).parts)


def written(site: Path) -> list[Path]:
    """The pages that somebody wrote, without the indexes that Sphinx adds and the redirect at the front."""
    return [p for p in pages(site) if p.parent != site]


def references(soup: BeautifulSoup) -> list[str]:
    """Every address that a page names, in the order of the page."""
    found = [tag.get(name) for name in ("href", "src", "data") for tag in soup.select(f"[{name}]")]
    refreshes = [str(tag.get("content", "")) for tag in soup.select('meta[http-equiv="Refresh"]')]
    return [str(address) for address in found] + [text.partition("url=")[2].strip() for text in refreshes]


@cache
def places(path: Path) -> set[str]:
    """What a link may lead to on a page."""
    soup = page(path)
    return {str(tag["id"]) for tag in soup.select("[id]")} | {str(tag["name"]) for tag in soup.select("a[name]")}


def broken(site: Path) -> list[str]:
    """Addresses inside the site that lead nowhere: no such file, or no such place on the page."""
    found = []
    for path in pages(site):
        for address in references(page(path)):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            name = f"{path.relative_to(site)}: {address}"
            if not target.is_relative_to(site.resolve()) or not target.is_file():
                found.append(f"{name} does not exist")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in places(target):
                found.append(f"{name}: there is no such place on that page")
    return found


def foreign(site: Path) -> list[str]:
    """What a browser would load from another site to show a page; links for a reader to follow may lead there."""
    found = []
    for path in pages(site):
        for tag in page(path).find_all(["script", "link", "img", "iframe", "source", "video", "audio", "object"]):
            assert isinstance(tag, Tag)
            if tag.name == "link" and "canonical" in (tag.get("rel") or []):
                continue
            for address in (str(tag.get(name)) for name in ("src", "href", "data") if tag.get(name)):
                if urlsplit(address).netloc:
                    found.append(f"{path.relative_to(site)}: {address}")
    for sheet in site.rglob("*.css"):
        found += [
            f"{sheet.relative_to(site)}: {u}"
            for u in re.findall(r"(?:url\(|@import)\s*['\"]?(https?:[^)'\"]+)", sheet.read_text())
        ]
    return found


def test_every_page_of_the_contents_is_there(site: Path):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    assert [name for name in files if not (site / f"{name}.html").is_file()] == []
    assert (site / "index.html").is_file()


def test_a_chapter_has_the_number_that_is_shown(site: Path):
    """The text says "chapter 5" for the file that begins with 05; nothing else is numbered."""
    links = page(site / "book" / "introduction.html").select("nav.bd-links a.reference.internal")
    shown = {Path(urlsplit(str(link["href"])).path).stem: link.get_text(strip=True) for link in links}
    numbers = {name: int(number[1]) for name, text in shown.items() if (number := re.match(r"(\d+)\. ", text))}
    assert numbers == {path.stem: int(path.name[:2]) for path in (site / "notebooks").glob("*.html")}


def test_links_inside_the_site(site: Path):
    assert broken(site) == []


def test_nothing_is_loaded_from_elsewhere(site: Path):
    assert foreign(site) == []


def test_math_is_set_by_the_copy(site: Path):
    front = page(site / "book" / "introduction.html")
    scripts = [str(tag["src"]) for tag in front.select("script[src]") if "mathjax" in str(tag["src"])]
    assert len(scripts) == 1
    assert (site / "book" / scripts[0].partition("?")[0]).is_file()


def test_pages_are_described(site: Path):
    for path in written(site):
        soup, name = page(path), path.relative_to(site)
        assert soup.html is not None and soup.html.get("lang") == "en", name
        assert soup.title is not None and soup.title.get_text(strip=True), name
        assert len(soup.select("article h1")) == 1, name
        assert [str(img) for img in soup.find_all("img") if not img.get("alt")] == [], name
        unnamed = [str(a) for a in soup.select("article a[href]") if not a.get_text(strip=True) and not a.find("img")]
        assert unnamed == [], name


def test_solutions_are_folded(site: Path):
    cells = [cell for path in written(site) for cell in page(path).select("div.cell.tag_solution")]
    assert cells
    for cell in cells:
        assert [summary.get_text(strip=True) for summary in cell.select("details > summary > p.collapsed")] == [
            "Show the solution"
        ]


def test_reference_lists_what_the_package_exports(site: Path):
    described = places(site / "book" / "api.html")
    exported = [
        value for name, value in vars(prunekit).items() if not name.startswith("_") and hasattr(value, "__qualname__")
    ]
    assert len(exported) > 5
    names = [f"{value.__module__}.{value.__qualname__}" for value in exported]
    assert [name for name in names if name not in described] == []


def verdicts_on(soup: BeautifulSoup) -> dict[str, str]:
    """By claim, the word of the verdict on a page, once it is sure that the mark beside it is that word's."""
    found = {}
    for row in soup.select("table.claims tbody tr"):
        cell = row.select_one("td.verdict")
        assert cell is not None
        word, mark = cell.select_one("strong"), cell.select_one("svg.verdict-mark")
        assert word is not None and mark is not None
        assert word.get_text().replace(" ", "-") in mark.get_attribute_list("class")
        found[str(row["id"]).removeprefix("claim-")] = word.get_text()
    return found


def test_the_page_of_claims_has_them_all_and_counts_them(site: Path):
    soup, judged = page(site / "book" / "claims.html"), claims.judged(claims.full_size())
    assert verdicts_on(soup) == dict(zip(judged["id"], judged["verdict"], strict=True))
    tiles = [int(tile.get_text()) for tile in soup.select("ul.verdicts strong")]
    assert tiles == [(judged["verdict"] == verdict).sum() for verdict in VERDICTS] and sum(tiles) == len(judged)
    marks = {link.get_text(): str(link["href"]) for link in soup.select("table.overview a")}
    assert marks == {f"{row.id} {row.verdict}": f"#claim-{row.id}" for row in judged.itertuples()}
    for id, rule in zip(judged["id"], judged["predicate"], strict=True):
        folded = soup.select_one(f'tr[id="claim-{id}"] details')
        assert folded is not None and rule in folded.get_text(), id


def test_claims_lead_to_the_chapters_in_the_book_and_to_no_others(site: Path):
    for row in page(site / "book" / "claims.html").select("table.claims tbody tr"):
        links = [Path(str(a["href"])).stem for a in row.select("p.shown a")]
        wanted = [Path(name).name for name in chapters.chapters(str(row["id"]).removeprefix("claim-"))]
        assert links == [name for name in wanted if (site / "notebooks" / f"{name}.html").is_file()]


def test_what_did_not_reproduce_is_on_its_page(site: Path):
    soup, judged = page(site / "book" / "not_reproduced.html"), claims.judged(claims.full_size()).set_index("id")
    expected = judged["verdict"][judged["verdict"].isin([FAILS, IN_PART])].to_dict()
    assert verdicts_on(soup) == expected and len(expected) >= 4, "four costs are off by one"
    for row in soup.select("table.claims tbody tr"):
        id, details = str(row["id"]).removeprefix("claim-"), row.select_one("details")
        assert details is not None and judged["changes"][id] not in details.get_text()
        assert judged["changes"][id] in row.get_text(), "in the open"
        assert row.select_one(f'a[href="claims.html#claim-{id}"]')


def test_results_page_links_every_table(site: Path):
    links = references(page(site / "book" / "results.html"))
    tables = sorted((ROOT / "results").glob("*/*.csv"))
    assert [str(t) for t in tables if f"../results/{t.relative_to(ROOT / 'results').as_posix()}" not in links] == []


def test_every_figure_of_a_notebook_has_its_data(site: Path):
    for path in sorted((site / "notebooks").glob("*.html")):
        for figure in page(path).select("div.cell figure"):
            assert len(figure.select("figcaption .figure-data")) == 1, path.name
    sensitivity = page(site / "notebooks" / "05_sensitivity.html")
    assert "../results/cifar10/sensitivity-vgg16.csv" in references(sensitivity)


# The checks themselves, on books that are wrong.


@pytest.fixture
def small_book(tmp_path: Path) -> Path:
    """A book of one page with the project's own configuration."""
    root = small_root(tmp_path / "root", "book/page")
    ledger = Ledger(root / "results", "digits")
    with ledger.run("prunekit reproduce demo") as run:
        ledger.add("demo", [{"rate": 0.5, "correct": 3, "total": 4}], ["rate"], run)
    return root


def build_page(root: Path, text: str) -> tuple[int, str]:
    (root / "book" / "page.md").write_text(text)
    return built(root, root)


def test_a_good_page_is_built_with_its_numbers(small_book: Path):
    text = "# Page\n\n{ledger}`digits/demo; rate == 0.5; correct / total; .1%` are right.\n\n"
    status, said = build_page(small_book, text + "```{ledger-tables} digits\n```\n\n```{ledger-tables} cifar10\n```\n")
    assert status == 0, said
    site = small_book / "_build" / "html"
    article = page(site / "book" / "page.html").select_one("article")
    assert article is not None
    assert "75.0% are right." in article.get_text()
    assert "prunekit reproduce demo" in article.get_text()
    assert "There are no results of this setting" in article.get_text()
    assert (site / "results" / "digits" / "demo.csv").is_file()
    assert broken(site) == []


DIRECTIVES = """
```{claims-summary}
```

```{claims} Retraining
```

```{verdicts} does not hold
```

```{experiments}
```

```{trap} best-epoch
```
"""


def test_claims_before_and_after_there_are_results_of_the_full_size(small_book: Path):
    def built_page() -> Tag:
        status, said = build_page(small_book, "# Page\n" + DIRECTIVES)
        assert status == 0, said
        page.cache_clear()
        article = page(small_book / "_build" / "html" / "book" / "page.html").select_one("article")
        assert article is not None
        return article

    before = built_page()
    assert "At present, no claim has this verdict." in before.get_text(), "costs hold, if only in part"
    assert "No such results are in this copy" in before.get_text()
    assert "No experiment has been run" in before.get_text()

    ledger = Ledger(small_book / "results", "cifar10")
    with ledger.run("prunekit reproduce retraining-vgg16-a --setting cifar10 --seed 0") as run:
        mark = {"network": "vgg16-a", "seed": 0, "total": 10_000}
        rows = [mark | {"split": s, "epoch": e, "correct": n} for s in ("test", "validation")
                for e, n in enumerate((5000, 7500, 7400))]  # fmt: skip
        ledger.add("retraining-vgg16-a", rows, ["network", "seed", "split", "epoch"], run)
        last = mark | {"split": "test", "correct": 7400, "recipe": "paper", "epochs": 2, "seconds": 7200.0}
        ledger.add("final-retraining-vgg16-a", [last], ["network", "seed", "split"], run)
        base = mark | {"network": "vgg16", "split": "test", "correct": 9000}
        ledger.add("baseline-vgg16", [base], ["network", "seed", "split"], run)
    after = built_page()
    row = after.select_one('tr[id="claim-1.vgg16-a.accuracy"]')
    assert row is not None
    for shown in ("does not hold", "cifar10, 1 seed", "74.00%", "retraining-vgg16-a 2.0 h on"):
        assert shown in row.get_text()
    assert after.get_text().count("1.vgg16-a.accuracy") == 3, "in the overview, in its group, and where it failed"
    (trap,) = [table for table in after.select("table.runs") if "above selected" in table.get_text()]
    assert "experiment on cifar10" in trap.get_text()
    assert [cell.get_text() for cell in trap.select("tbody td")] == ["retraining-vgg16-a", "2", "1", "1.00", "0.00"]


BAD = {  # what is wrong with a page: the line that must say so
    "[nowhere](missing.md)": "missing.md",
    "{cite}`nobody1900nothing`": "nobody1900nothing",
    "{ledger}`digits/demo; rate == 0.9; correct; d`": "0 rows answer",
    "{ledger}`digits/absent; ; correct; d`": "no results of 'absent'",
    "![A picture that is not there](images/absent.png)": "absent.png",
    "```{claims} Prices\n```": "'Prices' is none of Costs",
    "```{verdicts} maybe\n```": "'maybe' is none of holds",
    "```{trap} door\n```": "'door' is none of off-by-one",
    "{computed}`kept(64, 2); d`": "rate 2 is not a share to remove",
    "```{question} Whether\nIs it?\n```": "question 'Whether': it has to end with the list of its answers",
    "```{calculation} How many\nHow?\n- [x] `1 / 0`\n  > So.\n- [ ] else\n  > Not so.\n```": "division by zero",
    "```{question} No more\n:holds: 1 > 2\nSo?\n- [x] Yes.\n  > Yes.\n- [ ] No.\n  > No.\n```": "not 1 > 2",
    "{term}`frobnication`": "frobnication",
}


def test_a_bad_page_is_not_built(small_book: Path):
    status, said = build_page(small_book, "# Page\n\n" + "\n\n".join(BAD) + "\n")
    assert status != 0
    assert not (small_book / "_build" / "html").exists()
    warnings = [line for line in said.splitlines() if "page.md" in line and ("WARNING" in line or "ERROR" in line)]
    assert [message for message in BAD.values() if not any(message in line for line in warnings)] == []


def test_broken_and_foreign_addresses_are_found(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "page.html").write_text(
        '<a href="other.html#here">good</a> <a href="other.html#there">bad</a> <a href="gone.html">bad</a>'
        '<img src="../../secret.png"> <a href="https://example.org/">good</a> <a href="#top">bad</a>'
        '<script src="https://example.org/x.js"></script> <link rel="canonical" href="https://example.org/">'
    )
    (tmp_path / "a" / "other.html").write_text('<p id="here"></p>')
    (tmp_path / "a" / "style.css").write_text("@import url('https://example.org/font.css');")
    name = Path("a/page.html")
    assert broken(tmp_path) == [
        f"{name}: other.html#there: there is no such place on that page",
        f"{name}: gone.html does not exist",
        f"{name}: #top: there is no such place on that page",
        f"{name}: ../../secret.png does not exist",
    ]
    assert foreign(tmp_path) == [f"{name}: https://example.org/x.js", "a/style.css: https://example.org/font.css"]
