"""Questions in a browser, answered by keyboard: what is said, to whom, and what is counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import watched
from playwright.sync_api import Browser, Locator, Page, expect

import chromium

expect.set_options(timeout=chromium.PATIENCE)  # a busy machine is slow, and not wrong

CHOICE, SEVERAL, NUMBER = "Which filter goes", "The same function", "From scratch on the same compute"


@pytest.fixture
def quiz(browser: Browser, site: Path) -> Iterator[Page]:
    page = browser.new_page()
    complaints = watched(page)
    chromium.show(page, (site / "book" / "quiz_paper.html").as_uri())
    yield page
    page.close()
    assert complaints == []


def question(page: Page, title: str) -> Locator:
    """A question as assistive technology finds it: by the name of its group."""
    return page.get_by_role("group", name=title)


def answers(group: Locator) -> Locator:
    return group.locator("xpath=following-sibling::details")


def choose(group: Locator, right: bool) -> None:
    """Go to the first radio button and from there with the arrows to the first answer that is right, or wrong."""
    kinds = answers(group).locator("> ul > li").evaluate_all("items => items.map(item => item.className)")
    group.get_by_role("radio").first.focus()
    group.page.keyboard.press("Space")
    for _ in range(kinds.index("right" if right else "wrong")):
        group.page.keyboard.press("ArrowDown")


def said(group: Locator) -> Locator:
    return group.get_by_role("status")


def test_a_choice_by_keyboard(quiz: Page):
    group = question(quiz, CHOICE)
    expect(answers(group)).to_be_hidden()
    choose(group, right=False)
    expect(said(group)).to_be_empty()  # to look at an answer is not to give it
    quiz.keyboard.press("Enter")
    expect(said(group)).to_contain_text("Not right.")
    expect(said(group)).to_contain_text("Its weights add up to zero")
    expect(answers(group)).to_be_visible()
    choose(group, right=True)
    expect(said(group)).to_be_empty()  # what was said is not about this answer
    quiz.keyboard.press("Enter")
    expect(said(group)).to_contain_text("Right.Its absolute weights add up to four")
    expect(quiz.locator(".score")).to_contain_text("1 of 12 right so far, 0 of them at the first try.")


def test_nothing_chosen_is_no_try(quiz: Page):
    group = question(quiz, CHOICE)
    group.get_by_role("button", name="Check").press("Enter")
    expect(said(group)).to_have_text("Choose an answer first.")
    expect(answers(group)).to_be_hidden()
    choose(group, right=True)
    quiz.keyboard.press("Enter")
    expect(quiz.locator(".score")).to_contain_text("1 of 12 right so far, 1 of them at the first try.")


def test_several_answers_by_keyboard(quiz: Page):
    group = question(quiz, SEVERAL)
    kinds = answers(group).locator("> ul > li").evaluate_all("items => items.map(item => item.className)")
    rights = [i for i, kind in enumerate(kinds) if kind == "right"]
    boxes = group.get_by_role("checkbox")
    boxes.nth(rights[0]).press("Space")
    boxes.nth(kinds.index("wrong")).press("Space")
    quiz.keyboard.press("Enter")
    expect(said(group)).to_contain_text("Not right yet. One right answer is missing.")
    expect(said(group).locator("li.right")).to_have_count(1)
    expect(said(group).locator("li.wrong")).to_have_count(1)
    boxes.nth(kinds.index("wrong")).press("Space")
    for i in rights[1:]:
        boxes.nth(i).press("Space")
    quiz.keyboard.press("Enter")
    expect(said(group)).to_contain_text("Right, all of them.")
    expect(said(group).locator("li.right")).to_have_count(len(rights))


@pytest.mark.parametrize("typed", ["249", "249.2", "2.49e2", " 249 epochs ", "2.49 × 10^2", "+249"])
def test_a_number_by_keyboard(quiz: Page, typed: str):
    group = question(quiz, NUMBER)
    group.get_by_role("textbox").focus()
    quiz.keyboard.type(typed)
    quiz.keyboard.press("Enter")
    expect(said(group)).to_contain_text("Right.Epochs times multiply-adds")


@pytest.mark.parametrize(
    "typed, words",
    [
        ("164", "Those are the same epochs"),
        ("12,345", "should be the same for both"),
        ("-249", "should be the same for both"),
        ("many", "cannot be read as a number"),
        ("2,49", "cannot be read as a number"),
        ("", "Type a number first."),
    ],
)
def test_a_wrong_number_is_told_why(quiz: Page, typed: str, words: str):
    group = question(quiz, NUMBER)
    group.get_by_role("textbox").fill(typed)
    quiz.keyboard.press("Enter")
    expect(said(group)).to_contain_text(words)
    expect(said(group)).not_to_contain_text("Right.")


def test_start_again(quiz: Page):
    group = question(quiz, CHOICE)
    choose(group, right=True)
    quiz.keyboard.press("Enter")
    quiz.get_by_role("button", name="Start again").press("Enter")
    expect(said(group)).to_be_empty()
    expect(answers(group)).to_be_hidden()
    expect(group.get_by_role("radio", checked=True)).to_have_count(0)
    expect(quiz.locator(".score")).to_contain_text("0 of 12 right so far.")
    expect(group.get_by_role("radio").first).to_be_focused()


def test_without_scripts_the_answers_are_folded_below(browser: Browser, site: Path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(chromium.PATIENCE)
    page.goto((site / "book" / "quiz_paper.html").as_uri())
    first = answers(question(page, CHOICE))
    expect(first).to_be_visible()
    expect(first.locator("li").first).to_be_hidden()
    first.locator("summary").press("Enter")
    expect(first.locator("li.right")).to_be_visible()
    expect(page.get_by_role("button", name="Check")).to_have_count(0)
    expect(page.locator(".score")).to_be_hidden()
    context.close()


def test_on_paper_only_opened_answers_are_printed(quiz: Page):
    opened, closed = answers(question(quiz, CHOICE)), answers(question(quiz, SEVERAL))
    quiz.emulate_media(media="print")
    for details in (opened, closed):
        expect(details).to_be_hidden()
    opened.evaluate("details => details.open = true")
    expect(opened.locator("li.right")).to_be_visible()
    expect(closed).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_answered_questions_are_accessible_and_fit(browser: Browser, site: Path, width: int, scheme: str):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    chromium.show(page, (site / "book" / "quiz_paper.html").as_uri())
    choose(question(page, CHOICE), right=False)
    page.keyboard.press("Enter")
    answers(question(page, CHOICE)).locator("summary").press("Enter")
    question(page, NUMBER).get_by_role("textbox").fill("249")
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page, context={"include": [["article"]]})
    assert found.violations_count == 0, found.generate_report()
    context.close()
