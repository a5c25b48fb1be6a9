"""The pages of the built site as one document, to be printed: chapters in a row, links between them, solutions last.

It is made of the finished pages rather than by another builder of Sphinx, which would read everything again and lose
track of places that have the same name on two pages.
"""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag

LEFT_OUT = {  # pages that are of no use on paper: what is on them
    "book/results": "the tables of all results with their thousands of rows",
    "book/downloads": "the files to download",
}
NAMES = ("id", "for", "name", "aria-labelledby", "aria-describedby", "aria-controls")  # attributes that name a place
STYLE = Path(__file__).with_name("paper.css")


def contents(root: Path) -> list[tuple[str, list[str]]]:
    """The parts of the book with their pages, by `_toc.yml`; what stands before the first part has no caption."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    parts = [("", [toc["root"]])]
    parts += [(part["caption"], [chapter["file"] for chapter in part["chapters"]]) for part in toc.get("parts", [])]
    kept = [(caption, [page for page in pages if page not in LEFT_OUT]) for caption, pages in parts]
    return [(caption, pages) for caption, pages in kept if pages]


def pages(root: Path) -> list[str]:
    """The pages that are printed, in order."""
    return [page for _, names in contents(root) for page in names]


def mark(page: str, place: str = "") -> str:
    """The name in the document of a place on a page, or of the page."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", page)
    return f"{slug}--{place}" if place else slug


def joined(site: Path, parts: list[tuple[str, list[str]]], title: str, about: str, style: Path = STYLE) -> str:
    """The HTML of the whole book. `about` is HTML below the title; `site` is where the pages were built."""
    every = [page for _, names in parts for page in names]
    soups = {page: BeautifulSoup((site / f"{page}.html").read_text(encoding="utf-8"), "html.parser") for page in every}
    whole = BeautifulSoup("<main class='paper'></main>", "html.parser")
    main = whole.main
    assert main is not None
    chapters, solutions = [], []
    for page, soup in soups.items():
        article = soup.select_one("article")
        assert article is not None, page
        for tag in article.select("script, button, .headerlink, style"):
            tag.decompose()
        relink(article, site, page, set(every))
        found = apart(article, page)
        unfold(article)
        heading = article.find("h1")
        assert isinstance(heading, Tag), page
        article["id"] = mark(page)
        name = " ".join(heading.get_text().split())
        chapters.append((page, name))
        if found:
            solutions.append((name, found))
        main.append(article)
    if solutions:
        main.append(last(solutions))
    heads = [str(tag) for tag in shared(soups, site)]
    front = f'<header class="front"><h1>{title}</h1>{about}</header>'
    names = dict(chapters) | ({"solutions": "Solutions"} if solutions else {})
    listed = [*parts, ("", ["solutions"])] if solutions else parts
    running = running_heads(names)
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>{title}</title>{''.join(heads)}<style>{style.read_text(encoding='utf-8')}\n{running}</style></head>"
        f'<body>{front}{table(listed, names)}<div class="bd-article-container">{main}</div></body></html>'
    )


def relink(article: Tag, site: Path, page: str, pages: set[str]) -> None:
    """Give places the page's name in front, point links at them, and loaded files at where they are.

    A link to what is not in the document keeps its words only.
    """
    for tag in article.find_all(True):
        for attribute in NAMES:
            value = tag.get(attribute)
            if value and not (attribute == "name" and tag.name != "a"):
                tag[attribute] = " ".join(mark(page, each) for each in str(value).split())
        for attribute, value in list(tag.attrs.items()):
            if isinstance(value, str) and "url(#" in value:
                tag[attribute] = re.sub(r"url\(#", f"url(#{mark(page)}--", value)
        for attribute in ("src", "data"):
            value = tag.get(attribute)
            if value and not urlsplit(str(value)).scheme:
                tag[attribute] = ((site / page).parent / unquote(str(value))).resolve().as_uri()
    folder = (site / page).parent
    for link in article.select("[href]"):
        address = urlsplit(str(link["href"]))
        if address.scheme or address.netloc:
            continue
        target = (folder / unquote(address.path)).resolve() if address.path else (site / f"{page}.html").resolve()
        other = target.relative_to(site.resolve()).with_suffix("").as_posix()
        if target.suffix == ".html" and other in pages:
            link["href"] = "#" + mark(other, unquote(address.fragment))
        else:
            link.name = "span"
            del link["href"]


def apart(article: Tag, page: str) -> list[Tag]:
    """Take the solutions out of a page, each as a section with a heading; where it was, a link says where it went."""
    found = []
    make = BeautifulSoup("", "html.parser").new_tag
    for number, details in enumerate(article.select(".tag_solution details, details.answers"), start=1):
        here, there = mark(page, f"exercise-of-{number}"), mark(page, f"solution-of-{number}")
        around = details.find_parent(lambda tag: tag.name == "form" or str(tag.get("id", "")).find("--exercise") > 0)
        heading = around.find(["h2", "h3", "h4"]) if isinstance(around, Tag) else None
        entry = make("section", attrs={"class": "solution-entry", "id": there})
        back = make("a", attrs={"href": f"#{here}"})
        back.string = " ".join(heading.get_text().split()) if heading else f"Solution {number}"
        title = make("h3")
        title.append(back)
        entry.append(title)
        cell = details.find_parent("div", class_="tag_solution") or details
        for summary in details.find_all("summary"):
            summary.decompose()
        note = make("p", attrs={"class": "solution-note", "id": here})
        note.append(link := make("a", attrs={"href": f"#{there}"}))
        link.string = "Solution"
        cell.replace_with(note)
        entry.append(cell)
        for each in [*entry.find_all("details")] + ([entry.details] if entry.details else []):
            each.name = "div"
        found.append(entry)
    return found


def unfold(article: Tag) -> None:
    """What else is folded is open on paper, but for the code of figures and rows of the ledger, which the site has."""
    for details in article.find_all("details"):
        if "hide" in details.get_attribute_list("class") or details.find("div", class_="ledger-box", recursive=False):
            details.decompose()
        else:
            details["open"] = ""


def last(solutions: list[tuple[str, list[Tag]]]) -> Tag:
    """The chapter of solutions."""
    make = BeautifulSoup("", "html.parser").new_tag
    article = make("article", attrs={"class": "bd-article", "id": "solutions"})
    heading = make("h1")
    heading.string = "Solutions"
    article.append(heading)
    for name, entries in solutions:
        heading = make("h2")
        heading.string = name
        article.append(heading)
        article.extend(entries)
    return article


def shared(soups: dict[str, BeautifulSoup], site: Path) -> list[Tag]:
    """Style sheets of all pages, and what sets their formulas, each once and by its full address."""
    found: dict[str, Tag] = {}
    for page, soup in soups.items():
        for tag in soup.select('link[rel="stylesheet"], script'):
            address = str(tag.get("href") or tag.get("src") or "")
            if tag.name == "script" and "mathjax" not in address and "window.MathJax" not in tag.get_text():
                continue
            if address:
                file = ((site / page).parent / unquote(urlsplit(address).path)).resolve().as_uri()
                tag["href" if tag.name == "link" else "src"] = file
            found.setdefault(str(tag), tag)
    return list(found.values())


def running_heads(names: dict[str, str]) -> str:
    """The rules that print the name of a chapter above its pages."""
    rules = []
    for page, name in names.items():
        safe, own = name.replace("\\", "\\\\").replace('"', '\\"'), mark(page)
        rules.append(f'#{own} {{ page: {own}; }} @page {own} {{ @top-right {{ content: "{safe}"; }} }}')
    return "\n".join(rules)


def table(parts: list[tuple[str, list[str]]], names: dict[str, str]) -> str:
    """The table of contents; the pages' numbers are filled in once they are known."""
    lines = ['<nav class="book-contents" aria-label="Contents"><h1 id="contents">Contents</h1>']
    for caption, pages in parts:
        lines.append(f"<h2>{caption}</h2>" if caption else "")
        lines += [
            f'<p><a href="#{mark(page)}"><span>{names[page]}</span><span class="leader"></span>'
            f'<span class="page-number" data-of="{mark(page)}"></span></a></p>'
            for page in pages
        ]
    return "".join([*lines, "</nav>"])
