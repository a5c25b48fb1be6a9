"""What a question is, read from the list of its answers, and what makes a list no question.

Each item of the list is an answer. It begins with a box, `[x]` if it is right and `[ ]` if not, and ends with a
quotation that says why. In a question to be computed, the answer is an expression in backquotes (see `expressions`),
and the last item is `else`, for all numbers that no other item has.
"""

from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from numbers import Real

from docutils import nodes
from sphinx.addnodes import pending_xref

from expressions import value

BOXES = {"[x]": True, "[ ]": False}
ELSE = "else"
TINY = 1e-9  # relative: what floating-point numbers may be off by where no tolerance is given
NOT_IN_A_LABEL = (nodes.reference, nodes.footnote_reference, nodes.target, pending_xref)


class QuestionError(ValueError):
    """What is wrong with a question as it is written."""


@dataclass(frozen=True)
class Answer:
    """One answer: whether it is right, the line that a reader sees, and the paragraphs that say why."""

    right: bool
    line: list[nodes.Node]
    why: list[nodes.Node]

    @property
    def text(self) -> str:
        return "".join(node.astext() for node in self.line).strip()


@dataclass(frozen=True)
class Value:
    """A number that a reader may come to, how far off another still counts as the same, and what to say then."""

    right: bool
    number: float
    within: float
    why: list[nodes.Node]


def split(content: list[nodes.Node]) -> tuple[list[nodes.Node], list[Answer]]:
    """What is asked, and the answers: everything before the list at the end, and its items."""
    if not content or not isinstance(content[-1], nodes.bullet_list):
        raise QuestionError("it has to end with the list of its answers")
    if len(content) == 1:
        raise QuestionError("nothing is asked before the list of answers")
    answers = [read(item) for item in content[-1]]
    if not any(answer.right for answer in answers):
        raise QuestionError("no answer is marked [x] as right")
    if twins := [a.text for a, b in combinations(answers, 2) if a.text == b.text]:
        raise QuestionError(f"the answer {twins[0]!r} is there twice")
    return content[:-1], answers


def read(item: nodes.Node) -> Answer:
    """One item of the list."""
    parts = list(item.children)
    line = parts[0].children if parts and isinstance(parts[0], nodes.paragraph) else []
    box = str(line[0])[:3] if line and isinstance(line[0], nodes.Text) else ""
    if box not in BOXES:
        raise QuestionError(f"the answer {item.astext()[:30]!r} does not begin with [x] or [ ]")
    line = [nodes.Text(str(line[0])[3:].lstrip()), *line[1:]]
    shown = "".join(node.astext() for node in line).strip()
    if not shown:
        raise QuestionError("an answer is empty")
    if any(isinstance(found, NOT_IN_A_LABEL) for node in line for found in node.findall()):
        raise QuestionError(f"the answer {shown!r} has a link, which cannot stand beside a box to tick; put it below")
    if len(parts) != 2 or not isinstance(parts[1], nodes.block_quote):
        raise QuestionError(f"the answer {shown!r} does not say why, in a quotation below it: > ...")
    return Answer(BOXES[box], line, parts[1].children)


def choices(content: list[nodes.Node]) -> tuple[list[nodes.Node], list[Answer]]:
    """A question with answers to choose from."""
    asked, answers = split(content)
    if all(answer.right for answer in answers):
        raise QuestionError("every answer is right, so there is nothing to choose")
    return asked, answers


def values(content: list[nodes.Node], tolerance: str) -> tuple[list[nodes.Node], list[Value], Answer]:
    """A question to be computed: the numbers with an answer of their own, and the one to all others."""
    asked, answers = split(content)
    *answers, other = answers
    if other.right or other.text != ELSE:
        raise QuestionError(f"the last answer has to be [ ] {ELSE}, for every other number")
    numbers = [valued(answer, tolerance) for answer in answers]
    for a, b in combinations(numbers, 2):
        if abs(a.number - b.number) <= a.within + b.within:
            raise QuestionError(f"{a.number:g} and {b.number:g} cannot be told apart with this tolerance")
    if sum(each.right for each in numbers) != 1:
        raise QuestionError("one number has to be right, and no more")
    return asked, numbers, other


def valued(answer: Answer, tolerance: str) -> Value:
    line = [node for node in answer.line if node.astext().strip()]
    if len(line) != 1 or not isinstance(line[0], nodes.literal):
        raise QuestionError(f"the answer {answer.text!r} is no expression in backquotes")
    number = value(answer.text)
    if not isinstance(number, Real) or isinstance(number, bool) or not isfinite(number):
        raise QuestionError(f"the answer {answer.text!r} is {number!r}, which is no number")
    return Value(answer.right, float(number), distance(float(number), tolerance), answer.why)


def distance(number: float, tolerance: str) -> float:
    """How far from a number another counts as the same: "2%" of it, or "0.5"; rounding errors at least."""
    try:
        share = float(tolerance.removesuffix("%"))
    except ValueError:
        raise QuestionError(f"the tolerance {tolerance!r} is neither a number nor a percentage") from None
    if not (isfinite(share) and share >= 0):
        raise QuestionError(f"the tolerance {tolerance!r} is negative")
    return max(abs(number) * share / 100 if tolerance.endswith("%") else share, abs(number) * TINY)


def spoken(number: float) -> str:
    """A number as a reader would write it."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,.4g}"
