"""The whole book as one PDF to read and write on, printed from the built site by Chromium.

    python book/scripts/pdf.py --site _build/html --to _build/book.pdf

Chromium says on which page a place is only after printing, so it prints twice: the second time with the numbers of
pages in the contents and beside the links to solutions.
"""

import argparse
import html
import sys
import tempfile
import tomllib
from pathlib import Path

import yaml
from playwright.sync_api import Browser
from pypdf import PdfReader

import chromium
import joining

ROOT = Path(__file__).parents[2]

# Pages of the numbers to fill in, by the place that each is about: its own attribute, or the link that it stands in.
FILL = """pages => {
    for (const link of document.querySelectorAll(".solution-note a")) {
        const number = document.createElement("span");
        number.className = "page-number";
        number.dataset.of = link.hash.slice(1);
        if (!link.parentElement.querySelector(".page-number")) link.after(" ", number);
    }
    for (const number of document.querySelectorAll(".page-number"))
        number.textContent = pages[number.dataset.of] ?? "000";
}"""


def about(root: Path, site: Path) -> str:
    """What stands below the title: the paper, the version, and how to use the copy. HTML."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    logo = (site / "_static" / Path(config["logo"]).name).resolve().as_uri()
    absent = ", and ".join(joining.LEFT_OUT.values())
    return (
        f'<p><img class="emblem" src="{logo}" alt=""></p>'
        "<p>“Pruning Filters for Efficient ConvNets” by Li and others (ICLR 2017), taken apart claim by claim, "
        "with every claim checked that could be run so far.</p>"
        f"<p>{html.escape(config['author'])}. Version {html.escape(version)}.</p>"
        "<p>This copy is for reading and writing on: the right margin is free, and solutions and answers stand at the "
        f"end. Only the site has the code of figures, {html.escape(absent)}.</p>"
        '<p>Text and figures: <a href="https://creativecommons.org/licenses/by/4.0/">CC BY 4.0</a>. Code: MIT.</p>'
    )


def places(pdf: Path) -> dict[str, int]:
    """The page, counted from 1, of every place that a link in the PDF leads to."""
    reader = PdfReader(pdf)
    found = {}
    for name, destination in reader.named_destinations.items():
        number = reader.get_destination_page_number(destination)
        if number is not None:
            found[name.removeprefix("/")] = number + 1
    return found


def printed(browser: Browser, document: Path, to: Path) -> None:
    """Print an HTML file to `to`, with the numbers of its own pages."""
    page = browser.new_page()
    try:
        page.emulate_media(media="print", color_scheme="light", reduced_motion="reduce")
        chromium.show(page, document.as_uri())
        pages: dict[str, int] = {}
        for _ in range(2):
            page.evaluate(FILL, pages)
            page.pdf(path=to, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
            pages = places(to)
    finally:
        page.close()


def make(root: Path, site: Path, to: Path, browser: Browser) -> int:
    """Print the book that is built in `site`; the number of pages."""
    title = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["title"]
    text = joining.joined(site, joining.contents(root), title, about(root, site))
    with tempfile.TemporaryDirectory() as folder:
        document, draft = Path(folder) / "book.html", Path(folder) / "book.pdf"
        document.write_text(text, encoding="utf-8")
        printed(browser, document, draft)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(draft.read_bytes())
    return len(PdfReader(to).pages)


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the built site as one PDF.")
    parser.add_argument("--root", type=Path, default=ROOT, help="where _toc.yml and _config.yml are")
    parser.add_argument("--site", type=Path, required=True, help="the folder in which the site was built")
    parser.add_argument("--to", type=Path, required=True, help="the PDF to write")
    options = parser.parse_args()
    absent = [name for name in joining.pages(options.root) if not (options.site / f"{name}.html").is_file()]
    if absent:
        print(f"{options.site} lacks {', '.join(absent)}. `make book` builds the site anew.", file=sys.stderr)
        return 1
    try:
        with chromium.started() as browser:
            pages = make(options.root, options.site, options.to, browser)
    except chromium.ChromiumMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    print(f"{options.to} has {pages} pages.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
