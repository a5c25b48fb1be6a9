"""The site as readers meet it: in a browser, in the dark, on a phone, without a mouse, on paper."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from looking import PHONE, WIDE, Findings, look
from playwright.sync_api import Browser, Page, expect

import chromium

expect.set_options(timeout=chromium.PATIENCE)  # a busy machine is slow, and not wrong

KEYS = 600  # presses of Tab after which a page is taken to be a trap


def shown(site: Path) -> list[Path]:
    """The pages that readers open: all that were written, and the search."""
    written = [p for p in site.rglob("*.html") if p.parent != site and "_static" not in p.relative_to(site).parts]
    return [site / "search.html", *sorted(written)]


@pytest.fixture(scope="module")
def findings(browser: Browser, site: Path) -> dict[str, Findings]:
    """What is wrong with each page. Every page is loaded once, for all tests."""
    found = {}
    for path in shown(site):
        page = browser.new_page()
        found[path.relative_to(site).as_posix()] = look(page, path.as_uri())
        page.close()
    return found


def of(findings: dict[str, Findings], kind: str) -> dict[str, list[str]]:
    """The pages that have findings of a kind, with them."""
    return {name: getattr(found, kind) for name, found in findings.items() if getattr(found, kind)}


def test_no_script_stops_and_nothing_is_missing_or_from_elsewhere(findings: dict[str, Findings]):
    assert len(findings) > 10
    assert of(findings, "complaints") == {}


def test_no_barriers_in_the_light(findings: dict[str, Findings]):
    assert of(findings, "light") == {}


def test_contrast_in_the_dark(findings: dict[str, Findings]):
    assert of(findings, "dark") == {}


def test_figures_keep_their_light_ground_in_the_dark(findings: dict[str, Findings]):
    assert of(findings, "figures") == {}


def test_a_phone_shows_pages_whole_and_legible(findings: dict[str, Findings]):
    assert of(findings, "phone") == {}


def test_nothing_is_cut_off_on_paper(findings: dict[str, Findings]):
    assert of(findings, "paper") == {}


# By keyboard alone.


@pytest.fixture
def chapter(browser: Browser, site: Path) -> Iterator[Page]:
    """The first chapter with a solution."""
    path = next(p for p in shown(site) if "tag_solution" in p.read_text(encoding="utf-8"))
    page = browser.new_page(viewport=WIDE, reduced_motion="reduce")
    chromium.show(page, path.as_uri())
    yield page
    page.close()


FOCUSED = """() => {
    const element = document.activeElement, style = getComputedStyle(element), box = element.getBoundingClientRect();
    return {
        name: element.matches("a, button, summary, input") ? element.innerText.trim() || element.ariaLabel : "",
        classes: [...element.classList], tag: element.localName, body: element === document.body,
        ringed: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== "none",
        inside: box.bottom > 0 && box.top < innerHeight && box.width > 0,
        nav: !!element.closest(".bd-sidebar-primary nav"), text: !!element.closest("article"),
    };
}"""


def stops(page: Page) -> list[dict]:
    """What the Tab key comes to, from the top of the page until it has been everywhere."""
    found = []
    for _ in range(KEYS):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUSED)
        if stop["body"]:  # past the last stop
            return found
        found.append(stop)
    raise AssertionError(f"{KEYS} presses do not lead out of the page: {found[-3:]}")


def test_the_tab_key_goes_everywhere_and_shows_where_it_is(chapter: Page):
    found = stops(chapter)
    assert found[0]["name"] == "Skip to main content"
    assert [stop for stop in found if not stop["ringed"]] == []
    assert [stop for stop in found if not stop["inside"]] == []
    first = {kind: next(i for i, stop in enumerate(found) if stop[kind]) for kind in ("nav", "text")}
    search = next(i for i, stop in enumerate(found) if "search-button__button" in stop["classes"])
    assert search < first["nav"] < first["text"], "search, then the list of chapters, then the chapter"
    folded = chapter.locator("article summary").count()
    assert sum(stop["tag"] == "summary" for stop in found) == folded > 0


def test_the_first_link_skips_to_the_text(chapter: Page):
    chapter.keyboard.press("Tab")
    skip = chapter.get_by_role("link", name="Skip to main content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    chapter.keyboard.press("Enter")
    chapter.keyboard.press("Tab")
    assert chapter.evaluate("document.activeElement.closest('main') !== null")


def test_search_opens_and_closes_by_keyboard(chapter: Page):
    chapter.locator(".search-button__button:visible").first.focus()
    chapter.keyboard.press("Enter")
    field = chapter.get_by_role("searchbox")
    expect(field).to_be_focused()
    chapter.keyboard.press("Escape")
    expect(field).to_be_hidden()


def test_solutions_open_by_keyboard_and_their_code_scrolls(chapter: Page):
    chapter.set_viewport_size(PHONE)
    summary = chapter.locator("article .tag_solution summary").first
    code = chapter.locator("article .tag_solution details").first.locator("pre").first
    expect(summary).to_contain_text("Show the solution")
    expect(code).to_be_hidden()
    summary.focus()
    chapter.keyboard.press("Enter")
    expect(code).to_be_visible()
    wide = code.evaluate("pre => pre.scrollWidth > pre.clientWidth")
    expect(code).to_have_attribute("tabindex", "0" if wide else "-1")
    summary.focus()
    chapter.keyboard.press("Enter")
    expect(code).to_be_hidden()


def test_the_choice_of_a_dark_page_is_kept(browser: Browser, site: Path):
    """The button of the theme, on a page read from a disk."""
    context = browser.new_context(viewport=WIDE, color_scheme="light")
    page = context.new_page()
    chromium.show(page, shown(site)[1].as_uri())
    button, theme = page.locator(".theme-switch-button:visible").first, "document.documentElement.dataset.theme"
    for _ in range(3):
        if page.evaluate(theme) == "dark":
            break
        button.focus()
        page.keyboard.press("Enter")
    assert page.evaluate(theme) == "dark"
    chromium.show(page, shown(site)[2].as_uri())
    assert page.evaluate(theme) == "dark"
    context.close()


# The checks themselves, on a page with a fault of each kind.

FAULTS = {
    "complaints": {
        "<script>console.error('oh')</script>": "error in the console: oh",
        "<script>throw new Error('ah')</script>": "a script stopped: ah",
        "<img alt='' style='background: #fff' src='gone.png'>": "cannot load",
        "<script src='https://example.org/x.js'></script>": "asks another host: https://example.org/x.js",
    },
    "light": {
        "<p style='color: #aaa; background: #fff'>pale</p>": "color-contrast",
        "<button></button>": "button-name",
        "<input type='text'>": "label",
    },
    "dark": {
        "<style>@media (prefers-color-scheme: dark) { #ink { color: #333; background: #222; } }</style>"
        "<p id='ink'>ink</p>": "color-contrast: #ink",
    },
    "figures": {
        "<style>@media (prefers-color-scheme: dark) { body { background: #222; } }</style>"
        "<img alt='' src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>": "<img"
    },
    "phone": {
        "<div style='width: 500px; height: 1px'></div>": "scrolls sideways by",
        "<p style='font-size: 7px'>whisper</p>": "7 px: whisper",
        "<div style='overflow-x: auto' tabindex='-1'><p style='white-space: nowrap'>"
        + "on and on " * 30
        + "</p></div>": "scrolls, but not by keyboard",
        "<details><summary>more</summary><pre tabindex='-1' style='overflow-x: auto'>"
        + "x" * 300
        + "</pre></details>": "scrolls, but not by keyboard",
    },
    "paper": {
        "<pre style='overflow-x: auto'>" + "x" * 300 + "</pre>": "cut off by",
        "<p style='width: 2000px'>a long way</p>": "scrolls sideways",
        "<button class='copybtn'>Copy</button>": "is printed",
    },
}
PAGE = "<!DOCTYPE html><html lang='en'><title>Page</title><meta name='viewport' content='width=device-width'><body>{}"
SOUND = "<main><article class='bd-article'><h1>Page</h1><p>Nothing is wrong.</p>{}</article></main>"


def seen(browser: Browser, path: Path, text: str) -> Findings:
    path.write_text(PAGE.format(SOUND.format(text)), encoding="utf-8")
    page = browser.new_page()
    found = look(page, path.as_uri())
    page.close()
    return found


def test_a_sound_page_has_no_findings(browser: Browser, tmp_path: Path):
    assert seen(browser, tmp_path / "page.html", "").all() == []


@pytest.mark.parametrize(
    "kind, fault, said", [(kind, fault, said) for kind, each in FAULTS.items() for fault, said in each.items()]
)
def test_faults_are_found(browser: Browser, tmp_path: Path, kind: str, fault: str, said: str):
    found = getattr(seen(browser, tmp_path / "page.html", fault), kind)
    assert any(said in line for line in found), found
