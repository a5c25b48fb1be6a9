"""The page with the calculator in a browser: its figures beside prunekit's, by keyboard, on a phone and on paper."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import watched
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

import chromium
import prunekit as pk
from calculator_data import TITLES, data, network
from prunekit.costs import total_of
from prunekit.paper.arithmetic import counts
from prunekit.paper.configurations import CONFIGURATIONS

expect.set_options(timeout=chromium.PATIENCE)  # a busy machine is slow, and not wrong

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    complaints = watched(page)
    yield page
    assert complaints == []


@pytest.fixture(scope="module")
def address(site: Path) -> str:
    return (site / "book" / "calculator.html").as_uri()


def figure(page: Page, kind: str) -> Locator:
    return page.locator(f".calculator .tile.{kind} strong")


def shown(page: Page) -> tuple[int, int]:
    """The multiply-adds and the weights that the page shows."""
    macs, weights = (int(figure(page, kind).inner_text().replace(",", "")) for kind in ("macs", "weights"))
    return macs, weights


def cost(name: str, percents: dict[str, int]) -> tuple[int, int]:
    """What prunekit says that the plan costs; rates in percent by the layer's name in the network."""
    graph = network(name).graph
    total = total_of(graph, pk.plan(graph, {layer: percent / 100 for layer, percent in percents.items()}))
    return total.macs, total.weights


def settled(page: Page, cut: str | None) -> None:
    """Wait until the plan is in the address, which is when all that is slow has been done."""
    page.wait_for_function("cut => new URLSearchParams(location.search).get('cut') === cut", arg=cut)


@pytest.mark.parametrize("name", TITLES)
def test_presets_cost_what_prunekit_counts(page: Page, address: str, name: str):
    chromium.show(page, address)
    page.get_by_role("radio", name=TITLES[name], exact=False).check()
    assert shown(page) == counts(name, projections=True)
    rows = page.locator(".calculator .paper tbody tr")
    names = [configuration.name for configuration in CONFIGURATIONS.values() if configuration.network == name]
    assert rows.count() == len(names) + 2
    for preset in names:
        button = page.get_by_role("button", name=CONFIGURATIONS[preset].title)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        assert shown(page) == counts(preset, projections=True)
        expect(page.locator(".calculator .rule")).to_contain_text(CONFIGURATIONS[preset].rule)
        plain = [f"{n:,}" for n in counts(preset)]
        for row in (rows.filter(has=page.get_by_role("rowheader", name=CONFIGURATIONS[preset].title)), rows.last):
            cells = [text.split("\n")[0] for text in row.locator("td").all_inner_texts()]
            assert [cells[0], cells[2]] == plain
    page.get_by_role("button", name="Reset").click()
    assert shown(page) == counts(name, projections=True)


def test_the_keyboard_alone_moves_a_plan(page: Page, address: str):
    chromium.show(page, address)
    slider = page.get_by_role("slider", name="stage 4, conv 8, rate in percent")
    slider.focus()
    page.keyboard.press("PageUp")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    rate = int(slider.input_value())
    assert rate > 3
    kept = pk.plans.kept_count("conv 8", 512, rate / 100)
    expect(slider).to_have_attribute("aria-valuetext", f"{rate} percent, {kept} of 512 filters stay")
    assert shown(page) == cost("vgg16", {"features.24": rate})
    page.keyboard.press("Tab")
    expect(page.get_by_role("spinbutton", name="stage 4, conv 8, percent to remove")).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("73")
    assert shown(page) == cost("vgg16", {"features.24": 73})
    expect(slider).to_have_value("73")
    page.get_by_role("slider", name="all of stage 5, rate in percent").focus()
    page.keyboard.press("End")
    last = dict.fromkeys(("features.34", "features.37", "features.40"), 99)
    assert shown(page) == cost("vgg16", {"features.24": 73} | last)
    expect(page.locator(".calculator .status")).to_contain_text(f"{shown(page)[0]:,} multiply-adds")
    settled(page, "8:73,11-13:99")


def test_focus_can_be_seen_and_nothing_hides_it(page: Page, address: str):
    chromium.show(page, address)
    page.get_by_role("button", name="VGG-16-A").click()
    settled(page, "1:50,8-13:50")
    page.get_by_role("radio", name="VGG-16").focus()
    seen = set()
    for _ in range(46):
        page.keyboard.press("Tab")
        found: dict[str, Any] = page.evaluate(
            """() => {
              const at = document.activeElement, box = at.getBoundingClientRect();
              const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
              const name = at.getAttribute("aria-label") ?? at.textContent;
              return { name, inside: at.closest(".calculator form") !== null,
                       outline: getComputedStyle(at).outlineStyle, covered: !(top === at || at.contains(top)) };
            }"""
        )
        if found["inside"]:
            seen.add(found["name"])
            assert found["outline"] != "none" and not found["covered"], found
    assert {"Reset", "Find the rates", "stage 1, conv 1, rate in percent", "all of stage 5, percent to remove"} <= seen


def test_what_is_typed_wrong_gives_way_to_the_rate(page: Page, address: str):
    chromium.show(page, f"{address}?network=resnet56&cut=2:50")
    page.locator("summary", has_text="layer by layer").first.click()
    field = page.get_by_role("spinbutton", name="stage 1, layer 2, percent to remove")
    field.fill("")
    assert shown(page) == cost("resnet56", {"layer1.0.conv1": 50})
    field.blur()
    expect(field).to_have_value("50")
    field.fill("400")
    expect(field).to_have_value("93")  # of 16 filters, one stays
    field.fill("-7")
    expect(field).to_have_value("0")


def test_the_best_rates_for_a_budget_are_found_and_compared(page: Page, address: str):
    chromium.show(page, address)
    sweep = data("vgg16")["sweep"]
    page.get_by_role("spinbutton", name="at most").fill("66")
    page.get_by_role("spinbutton", name="at most").press("Enter")
    expect(page.locator(".calculator .found")).to_contain_text("lose the least with at most 66%")
    assert shown(page)[0] <= counts("vgg16")[0] * 66 // 100
    page.get_by_role("button", name="VGG-16-A").click()
    notes = page.locator(".calculator .notes")
    expect(notes).to_contain_text("The best measured rates with no more multiply-adds lose")
    before = float(re.search(r"add up to ([\d.]+) points", notes.inner_text())[1])
    promised = float(re.search(r"no more multiply-adds lose ([\d.]+) points", notes.inner_text())[1])
    assert promised < before
    page.get_by_role("button", name="Take them").press("Enter")
    expect(notes).to_be_focused()
    expect(notes).to_contain_text("No measured rates that take as few multiply-adds lose less.")
    expect(notes).to_contain_text(f"They add up to {promised:.2f} points.")
    assert shown(page)[0] <= counts("vgg16-a")[0]
    expect(figure(page, "right")).to_have_text(f"{100 * sweep['right'] / sweep['total'] - promised:.2f}%")
    page.get_by_role("spinbutton", name="at most").fill("0")
    page.get_by_role("button", name="Find the rates").click()
    expect(page.locator(".calculator .found")).to_contain_text("type a number from 1 to 100.")


def test_an_address_is_shared_and_read_again(page: Page, address: str):
    chromium.show(page, f"{address}?network=resnet34&cut=4-6:30,s3:20")
    assert shown(page) == cost("resnet34", {"layer1.1.conv1": 30, "layer1.2.conv1": 30, "layer3.0.downsample.0": 20})
    page.get_by_role("slider", name="stage 2, layer 10, rate in percent").focus()
    page.keyboard.press("ArrowRight")
    settled(page, "4-6:30,10:1,s3:20")
    before = shown(page)
    assert parse_qs(urlsplit(page.url).query)["network"] == ["resnet34"]
    page.reload()
    assert shown(page) == before
    expect(page.locator(".calculator .unread")).to_be_hidden()


def test_nonsense_in_an_address_does_no_harm(page: Page, address: str):
    chromium.show(page, f"{address}?network=vgg16&cut=1:50,<img src=x onerror=alert(1)>:9,2:1000")
    assert shown(page) == cost("vgg16", {"features.0": 50})
    expect(page.get_by_role("alert")).to_contain_text("2:1000")
    assert page.locator(".calculator img").count() == 0
    settled(page, "1:50")


def test_the_python_that_is_copied_makes_this_network(context: BrowserContext, page: Page, address: str):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    chromium.show(page, f"{address}?network=resnet56&cut=2-14:60,22:37")
    page.get_by_role("button", name="Copy the Python").click()
    expect(page.locator(".calculator .copied")).to_have_text("The Python is copied.")
    text = page.evaluate("navigator.clipboard.readText()")
    made: dict[str, Any] = {}
    exec(text.replace("print(", "total = ("), made)
    assert (made["total"].macs, made["total"].weights) == shown(page)
    page.get_by_role("button", name="Copy a link").click()
    expect(page.locator(".calculator .copied")).to_contain_text("address of this plan is copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.url


def test_what_was_not_measured_is_said(page: Page, address: str):
    for name in TITLES:
        known, right = data(name), figure(page, "right")
        chromium.show(page, f"{address}?network={name}")
        assert (right.inner_text() == "unknown") == (known["sweep"] is None)
        assert (figure(page, "time").inner_text() == "unknown") == (known["time"] is None)
        chromium.show(page, f"{address}?network={name}&cut={known['units'][0]['key']}:10")
        expect(page.locator(".calculator .budget")).to_be_visible(visible=known["sweep"] is not None)
        assert (right.inner_text() == "unknown") == (known["sweep"] is None)
        assert (figure(page, "time").inner_text() == "unknown") == (not (known["time"] and known["time"]["follows"]))
    chromium.show(page, f"{address}?network=vgg16&cut=3:95")
    expect(page.locator(".calculator .tile.right")).to_contain_text("not measured: conv 3")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("query", ["?network=vgg16&cut=1:50,8-13:55", "?network=resnet34&cut=s3:20"])
def test_everybody_can_use_it(browser: Browser, address: str, scheme: str, query: str):
    page = browser.new_page(color_scheme=scheme)
    chromium.show(page, address + query)
    expect(page.locator("html")).to_have_attribute("data-theme", scheme)
    expect(page.locator(".calculator .status")).not_to_be_empty()
    found = Axe().run(page, context=".calculator", options={"runOnly": WCAG})
    page.close()
    problems = [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in found.response["violations"]]
    assert problems == []


@pytest.mark.parametrize("name", TITLES)
def test_all_of_it_has_room_on_any_screen(browser: Browser, address: str, name: str):
    page = browser.new_page()
    percents = ",".join(f"{unit.key}:{1 if i % 2 else 55}" for i, unit in enumerate(network(name).units))
    chromium.show(page, f"{address}?network={name}&cut={percents}")
    for fold in page.locator(".calculator summary").all():
        fold.click()
    for width in (360, 768, 1280, 1600):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            """() => [".figures", ".stages", ".choices"].flatMap((part) => {
                 const around = document.querySelector(".calculator " + part), frame = around.getBoundingClientRect();
                 return [...around.querySelectorAll("*")].filter((at) => {
                   const box = at.getBoundingClientRect();
                   return box.width > 1 && (box.right > frame.right + 0.5 || box.left < frame.left - 0.5);
                 }).map((at) => at.outerHTML.slice(0, 80));
               })"""
        )
        assert outside == [], width
    page.close()


def test_paper_gets_a_table_and_no_fields(page: Page, address: str):
    chromium.show(page, f"{address}?network=resnet110&cut=2-34:50")
    settled(page, "2-34:50")
    expect(page.locator(".calculator .sheet tbody tr")).to_have_count(54)
    page.emulate_media(media="print")
    expect(page.locator(".calculator .sheet")).to_be_visible()
    expect(page.locator(".calculator-presets")).to_be_hidden()
    for hidden in ("input", "button", "select"):
        assert page.locator(f".calculator {hidden}:visible").count() == 0
    rows = [row.locator("td").all_inner_texts() for row in page.locator(".calculator .sheet tbody tr").all()]
    assert [[row[1], row[4], row[5]] for row in rows[:1] + rows[-1:]] == [
        ["layer 2", "50%", "8"],
        ["layer 108", "0%", "64"],
    ]
    assert page.url in page.locator(".calculator .sheet").inner_text()
    page.emulate_media(media="screen")
    page.get_by_role("button", name="Reset").click()
    settled(page, None)
    page.emulate_media(media="print")
    expect(page.locator(".calculator .sheet")).to_be_hidden()
    expect(page.locator(".calculator-presets table")).to_be_visible()


def test_without_scripts_the_papers_networks_are_there(browser: Browser, address: str, site: Path):
    page = browser.new_page(java_script_enabled=False)
    page.set_default_timeout(chromium.PATIENCE)
    page.goto(address)
    expect(page.locator(".calculator")).to_be_hidden()
    rows = page.locator(".calculator-presets tbody tr")
    expect(rows).to_have_count(len(TITLES) + len(CONFIGURATIONS))
    for name, configuration in CONFIGURATIONS.items():
        row = rows.filter(has_text=configuration.title).first
        for number in counts(name):
            expect(row).to_contain_text(f"{number:,} (")
    page.emulate_media(media="print")
    expect(rows.first).to_be_visible()
    page.close()
    soup = BeautifulSoup((site / "book" / "calculator.html").read_text(encoding="utf-8"), "html.parser")
    assert json.loads(soup.select_one("#calculator-data").string) == [data(name) for name in TITLES]
