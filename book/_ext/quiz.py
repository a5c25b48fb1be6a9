"""Questions that check themselves, without a network and without a server. On a page, one looks like this:

    :::{question} The second saving
    Half of the filters of a conv are removed. What happens to the cost of the conv that reads its maps?

    - [ ] It stays: that conv keeps all its filters.
      > It does keep them, but each of them now has half as many kernels.
    - [x] It is halved.
      > Each of its filters reads half as many maps.
    :::

With one answer marked `[x]` a reader chooses one, with several any number. Each answer says in a quotation below why it
is right or wrong. What makes an answer right may be measured, and so change: `:holds:` takes an expression, such as
`ledger('...') < 0.5`, that has to be true for the question to be built.

    :::{calculation} What a layer costs
    :unit: multiply-adds
    How many does a conv with 64 filters of 3×3 take that reads 64 maps of 32×32?

    - [x] `layer(64, 64, 3, 32).macs`
      > Every pixel of every map takes 64 · 9 of them.
    - [ ] `2 * layer(64, 64, 3, 32).macs`
      > You counted a multiply-add as two.
    - [ ] else
      > Filters, maps read, kernel and pixels: the product of all.
    :::

Answers are computed (see `expressions`), and a number must be met within `:tolerance:`, say `2%` or `0.5`; without one,
exactly. `{score}`, on a line of its own, is where a reader sees how many are right.

The page holds everything before the script `_static/quiz.js` runs: without it, answers are folded away below each
question. What is wrong with a question as written (see `questions`) is an error of the build.
"""

from collections.abc import Iterable
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

import questions
from expressions import value
from questions import QuestionError, Value

FOLDED = "The answer, and why"
CHOOSE = {True: "Choose one answer.", False: "Choose all answers that are right."}
TYPE = "Type a number."


class Tag(nodes.General, nodes.Element):
    """An HTML element, for what docutils has no node for."""


def tag(name: str, /, *children: nodes.Node | str, empty: bool = False, **attributes: str) -> Tag:
    """An element with its children, texts among them; `class_` is its class, and `data_x` the attribute data-x."""
    named = {key.rstrip("_").replace("_", "-"): text for key, text in attributes.items()}
    ids = [named.pop("id")] if "id" in named else []  # among a node's own, or docutils refuses it
    inside = (nodes.Text(child) if isinstance(child, str) else child for child in children)
    return Tag("", *inside, tag=name, named=named, empty=empty, ids=ids)


def text(*children: nodes.Node) -> nodes.inline:
    """Words of a writer, whose quotation marks become those of print; they do so only inside of docutils' own nodes."""
    return nodes.inline("", "", *children)


def visit(self: HTML5Translator, node: Tag) -> None:
    self.body.append(self.starttag(node, node["tag"], "", node["empty"], **node["named"]))


def depart(self: HTML5Translator, node: Tag) -> None:
    if not node["empty"]:
        self.body.append(f"</{node['tag']}>")


class Asked(SphinxDirective):
    """What all questions have in common: a title, which the argument is, and a place among those of the page."""

    required_arguments, final_argument_whitespace, has_content = 1, True, True
    option_spec: ClassVar[dict] = {"holds": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        title = self.arguments[0]
        page = self.env.temp_data.setdefault("questions", [])
        try:
            if title in page:
                raise QuestionError("there is a question of this title already")
            if "holds" in self.options and not value(self.options["holds"]):
                raise QuestionError(f"its answer is right no more: not {self.options['holds']}")
            page.append(title)
            return [self.form(f"question-{nodes.make_id(title)}", f"{len(page)}. {title}")]
        except ValueError as error:
            raise self.error(f"question {title!r}: {error}.") from None

    def form(self, name: str, title: str) -> Tag:
        """The whole question in HTML; `name` is its id, and begins the ids of what is inside."""
        raise NotImplementedError


class Question(Asked):
    """A question with answers to choose from."""

    def form(self, name: str, title: str) -> Tag:
        asked, answers = questions.choices(self.parse_content_to_nodes())
        single = sum(answer.right for answer in answers) == 1
        kind = "radio" if single else "checkbox"
        boxes = [
            tag("li", tag("label", box(kind, name, i), text(*copied(answer.line)))) for i, answer in enumerate(answers)
        ]
        listed = [explained(answer.right, copied(answer.line), answer.why) for answer in answers]
        return form(name, title, asked, CHOOSE[single], tag("ul", *boxes, class_="choices"), listed)


class Calculation(Asked):
    """A question whose answer is a number."""

    option_spec: ClassVar[dict] = {
        **Asked.option_spec,
        "unit": directives.unchanged_required,
        "tolerance": directives.unchanged_required,
    }

    def form(self, name: str, title: str) -> Tag:
        asked, numbers, other = questions.values(self.parse_content_to_nodes(), self.options.get("tolerance", "0"))
        unit = self.options.get("unit", "")
        field = tag(
            "input", type="text", name=name, inputmode="decimal", autocomplete="off", spellcheck="false", empty=True
        )
        label = tag("label", tag("span", "Your answer:"), field, tag("span", unit, class_="unit"))
        listed = [valued(number, unit) for number in numbers]
        listed.append(explained(False, [nodes.Text("any other number")], other.why))
        return form(name, title, asked, TYPE, tag("p", label, class_="number"), listed)


def form(name: str, title: str, asked: list[nodes.Node], how: str, field: Tag, listed: list[Tag]) -> Tag:
    """A question: what is asked, where to answer, a button and a place for what is said then; the answers below."""
    prompt = tag("div", *asked, tag("p", how, class_="how"), class_="asked", id=f"{name}-asked")
    legend = tag("legend", tag("h2", text(nodes.Text(title))))
    button = tag("p", tag("button", "Check", type="submit"), class_="check", hidden="")
    said = tag("div", class_="feedback", role="status")
    group = tag("fieldset", legend, prompt, field, button, said, aria_describedby=f"{name}-asked")
    answers = tag("details", tag("summary", FOLDED), tag("ul", *listed), class_="answers")
    return tag("form", group, answers, class_="question", id=name, novalidate="")


def box(kind: str, name: str, number: int) -> Tag:
    return tag("input", type=kind, name=name, value=str(number), autocomplete="off", empty=True)


def explained(right: bool, line: Iterable[nodes.Node], why: list[nodes.Node]) -> Tag:
    """An answer among those that are folded away."""
    word = tag("strong", "Right: " if right else "Not right: ")
    return tag("li", tag("p", word, text(*line), class_="line"), *why, class_="right" if right else "wrong")


def valued(number: Value, unit: str) -> Tag:
    space = "" if unit == "%" else " "
    line = nodes.Text(f"{questions.spoken(number.number)}{space}{unit}".strip())
    item = explained(number.right, [line], number.why)
    item["named"] |= {"data-number": repr(number.number), "data-within": repr(number.within)}
    return item


def copied(line: list[nodes.Node]) -> list[nodes.Node]:
    return [node.deepcopy() for node in line]


class Score(SphinxDirective):
    """Where the score of the page is shown; nothing, without the script."""

    def run(self) -> list[nodes.Node]:
        shown = tag("p", class_="shown")
        return [tag("div", shown, tag("p", tag("button", "Start again", type="button")), class_="score", hidden="")]


def add_files(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Script and style only where there is a question."""
    if doctree is not None and any(doctree.findall(Tag)):
        app.add_js_file("quiz.js", loading_method="defer")
        app.add_css_file("quiz.css")


def setup(app: Sphinx) -> dict:
    app.add_node(Tag, html=(visit, depart))
    app.add_directive("question", Question)
    app.add_directive("calculation", Calculation)
    app.add_directive("score", Score)
    app.connect("html-page-context", add_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
