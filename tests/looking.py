"""Look at a page of the site as several readers would: by axe in light and dark, on a phone, by keyboard, on paper."""

from dataclasses import dataclass, fields

from axe_playwright_python.base import AXE_SCRIPT
from browsing import watched
from playwright.sync_api import Page

import chromium

WIDE, PHONE, SHEET = ({"width": width, "height": 900} for width in (1280, 360, 600))  # 600 px: A4 beside room for notes
SMALLEST = 11  # CSS pixels, on a phone

# Rows of a table of numbers are all of one kind, and so are the cells of code below one heading: the first ones stand
# for all of them, which would take axe minutes.
THIN_OUT = """() => document.querySelectorAll(
    "table:is(.ledger, .dataframe):not(.claims) tbody tr:nth-child(n+4), .cell ~ .cell .highlight pre > *"
).forEach(element => element.remove())"""

BARRIERS = """async rules => {
    const some = rules && {runOnly: {type: "rule", values: rules}};
    const {violations} = await axe.run({resultTypes: ["violations"], preload: false, ...some});
    return violations.filter(found => ["serious", "critical"].includes(found.impact)).flatMap(found =>
        found.nodes.map(node => `${found.id}: ${node.target.join(" ")} ${node.html.slice(0, 120)}`));
}"""

# What sticks out is named by its own box, unless it is inside of a box that scrolls or hides what is too wide.
SIDEWAYS = """() => {
    const width = document.documentElement.clientWidth;
    if (document.scrollingElement.scrollWidth <= width) return [];
    const held = element => {
        for (let box = element.parentElement; box && box !== document.body; box = box.parentElement)
            if (getComputedStyle(box).overflowX !== "visible") return true;
        return false;
    };
    const out = [...document.body.querySelectorAll("*")].filter(element =>
        element.getBoundingClientRect().right > width + 1 && !held(element));
    return [`scrolls sideways by ${document.scrollingElement.scrollWidth - width} px`,
            ...out.slice(0, 3).map(element => element.outerHTML.slice(0, 120))];
}"""

STUCK = """() => [...document.body.querySelectorAll("*")].filter(element =>
    element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 1 && element.tabIndex < 0 &&
    ["auto", "scroll"].includes(getComputedStyle(element).overflowX) && element.checkVisibility() &&
    !element.closest("mjx-container") &&
    !element.querySelector("a[href], button, input, select, summary, [tabindex='0']")
).map(element => `scrolls, but not by keyboard: ${element.outerHTML.slice(0, 120)}`)"""

UNFOLD = "document.querySelectorAll('details:not(:has(> .ledger-box))').forEach(details => details.open = true)"

TINY = """smallest => {
    const found = new Set();
    const texts = document.createTreeWalker(document.querySelector("article") ?? document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || element.closest("mjx-container, sub, sup, script, style, svg")) continue;
        const size = parseFloat(getComputedStyle(element).fontSize);
        if (size < smallest && element.checkVisibility())
            found.add(`${size} px: ${texts.currentNode.data.trim().slice(0, 60)}`);
    }
    return [...found];
}"""

# A drawing may be transparent where it has no lines: what is behind it has to be light, in the dark too.
DARKENED = """() => [...document.querySelectorAll("article img, main img, .slides img")].filter(image => {
    for (let box = image; box; box = box.parentElement) {
        const [red, green, blue, opaque = 1] = getComputedStyle(box).backgroundColor.match(/[\\d.]+/g).map(Number);
        if (opaque === 1) return Math.min(red, green, blue) < 200;
    }
    return false;
}).map(image => image.outerHTML.slice(0, 120))"""

CUT = """() => [...document.querySelectorAll(".bd-article, .bd-article *")].filter(element =>
    element.checkVisibility() && !element.closest("mjx-container, svg") &&
    getComputedStyle(element).overflowX !== "visible" && element.clientWidth > 1 &&
    element.scrollWidth > element.clientWidth + 1
).map(element => `cut off by ${element.scrollWidth - element.clientWidth} px: ${element.outerHTML.slice(0, 120)}`)"""

ON_PAPER = """() => {
    const useless = ["header", ".bd-sidebar-primary", ".bd-sidebar-secondary", ".bd-header-article", ".prev-next-area",
                     ".headerlink", "button.copybtn", "#pst-back-to-top", ".search-button", ".theme-switch-button"];
    return useless.flatMap(name => [...document.querySelectorAll(name)])
        .filter(element => element.checkVisibility({visibilityProperty: true}) && element.getClientRects().length)
        .map(element => `is printed: ${element.outerHTML.slice(0, 120)}`);
}"""


@dataclass
class Findings:
    """What is wrong with a page, a line each; nothing where nothing is."""

    complaints: list[str]  # of the browser, while it loads and shows the page
    light: list[str]  # barriers that axe calls serious or critical
    dark: list[str]  # contrast that is too low when the reader's system is dark
    figures: list[str]  # pictures in the dark without a light ground
    phone: list[str]  # what sticks out, is tiny, or scrolls but cannot be reached by keyboard
    paper: list[str]  # what is cut off in print, or of no use there

    def all(self) -> list[str]:
        return [line for field in fields(self) for line in getattr(self, field.name)]


def barriers(page: Page, *rules: str) -> list[str]:
    """What axe calls serious or critical: by all its rules, or by those that are named."""
    page.evaluate(f"() => {{ if (!window.axe) {{ {AXE_SCRIPT} }} }}")
    return page.evaluate(BARRIERS, list(rules) or None)


def unreachable(page: Page) -> list[str]:
    """What scrolls and has no stop for the Tab key, with everything unfolded but rows of the ledger, whose box has one.

    The theme sets the stops a while after a page has changed, so what is missing is asked for again.
    """
    page.evaluate(UNFOLD)
    for _ in range(20):
        found = page.evaluate(STUCK)
        if not found:
            break
        page.wait_for_timeout(500)
    return found


def look(page: Page, address: str) -> Findings:
    """Load a page once, and look at it in every way."""
    complaints = watched(page)
    page.set_viewport_size(PHONE)
    # Without transitions a color is what it will be at once.
    page.emulate_media(media="screen", color_scheme="light", reduced_motion="reduce")
    chromium.show(page, address)
    phone = page.evaluate(SIDEWAYS) + page.evaluate(TINY, SMALLEST) + unreachable(page) + page.evaluate(SIDEWAYS)
    page.emulate_media(media="print")
    page.set_viewport_size(SHEET)
    paper = page.evaluate(CUT) + page.evaluate(SIDEWAYS) + page.evaluate(ON_PAPER)
    page.evaluate(THIN_OUT)
    page.emulate_media(media="screen")
    page.set_viewport_size(WIDE)
    light = barriers(page)
    page.emulate_media(color_scheme="dark")
    dark, figures = barriers(page, "color-contrast"), page.evaluate(DARKENED)
    return Findings(complaints, light, dark, figures, phone, paper)
