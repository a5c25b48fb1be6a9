"""What counts as a question, and the numbers that pages compute. No site is built here."""

import math

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from myst_parser.docutils_ import Parser

import expressions
import questions
from prunekit.ledger import Ledger


def parsed(text: str) -> list[nodes.Node]:
    """The content of a directive, as Sphinx would hand it over."""
    return publish_doctree(text, parser=Parser(), settings_overrides={"report_level": 5}).children


CHOICE = """
What is the cost?

- [ ] It *stays*.
  > It does not.
- [x] It is halved.
  > Half of the kernels go.
  >
  > More about it.
"""

NUMBER = """
How many?

- [x] `kept(64, 0.8)`
  > Rounded down.
- [ ] `kept(64, 0.8) + 1`
  > Rounded up.
- [ ] else
  > Of 64 filters, 20% stay.
"""


def test_choices_are_read():
    asked, answers = questions.choices(parsed(CHOICE))
    assert [node.astext() for node in asked] == ["What is the cost?"]
    assert [(answer.right, answer.text) for answer in answers] == [(False, "It stays."), (True, "It is halved.")]
    assert any(isinstance(node, nodes.emphasis) for node in answers[0].line), "markup is kept"
    assert [node.astext() for node in answers[1].why] == ["Half of the kernels go.", "More about it."]


def test_values_are_read():
    _, numbers, other = questions.values(parsed(NUMBER), "0")
    assert [(each.right, each.number) for each in numbers] == [(True, 12), (False, 13)]
    assert all(0 < each.within < 1e-6 for each in numbers)
    assert other.why[0].astext() == "Of 64 filters, 20% stay."


BAD_CHOICES = [
    ("Nothing but text.", "has to end with the list"),
    ("- [x] A\n  > Yes.\n- [ ] B\n  > No.", "nothing is asked"),
    (CHOICE.replace("[x]", "[ ]"), "no answer is marked"),
    (CHOICE.replace("[ ]", "[x]"), "every answer is right"),
    (CHOICE.replace("[x]", "[y]"), r"does not begin with \[x\] or \[ \]"),
    (CHOICE.replace("[x] ", ""), r"does not begin with \[x\] or \[ \]"),
    (CHOICE + "\n  A paragraph outside of the quotation.", "does not say why"),
    (CHOICE.replace("  > It does not.\n", ""), "does not say why"),
    (CHOICE.replace("It is halved.", "It *stays*."), "'It stays.' is there twice"),
    (CHOICE.replace("It is halved.", "It is [halved](https://example.org)."), "has a link"),
    (CHOICE.replace("It is halved.", ""), "an answer is empty"),
    (CHOICE + "\nAnd one more word.", "has to end with the list"),
]


@pytest.mark.parametrize("text, message", BAD_CHOICES)
def test_what_is_no_choice_is_refused(text: str, message: str):
    with pytest.raises(questions.QuestionError, match=message):
        questions.choices(parsed(text))


BAD_VALUES = [
    (NUMBER.replace("[x]", "[ ]"), "0", "no answer is marked"),
    (NUMBER.replace("[ ]", "[x]", 1), "0", "one number has to be right"),
    (NUMBER.replace("- [ ] else\n  > Of 64 filters, 20% stay.\n", ""), "0", r"last answer has to be \[ \] else"),
    (NUMBER.replace("[ ] else", "[x] else"), "0", r"last answer has to be \[ \] else"),
    (NUMBER, "1", "12 and 13 cannot be told apart"),
    (NUMBER, "5%", "12 and 13 cannot be told apart"),
    (NUMBER, "a little", "neither a number nor a percentage"),
    (NUMBER, "-1", "is negative"),
    (NUMBER.replace("`kept(64, 0.8)`", "12"), "0", "no expression in backquotes"),
    (NUMBER.replace("`kept(64, 0.8)`", "`kept(64, 0.8)` filters"), "0", "no expression in backquotes"),
    (NUMBER.replace("`kept(64, 0.8)`", "`'twelve'`"), "0", "is no number"),
    (NUMBER.replace("`kept(64, 0.8)`", "`1 == 1`"), "0", "is no number"),
]


@pytest.mark.parametrize("text, tolerance, message", BAD_VALUES)
def test_what_is_no_calculation_is_refused(text: str, tolerance: str, message: str):
    with pytest.raises(questions.QuestionError, match=message):
        questions.values(parsed(text), tolerance)


def test_a_tolerance_is_a_share_or_a_distance():
    assert questions.distance(200, "2%") == 4
    assert questions.distance(-200, "2%") == 4
    assert questions.distance(200, "0.5") == 0.5
    assert 0 < questions.distance(0.1 + 0.2, "0") < 1e-6


@pytest.mark.parametrize(
    "number, text", [(18_874_368, "18,874,368"), (56.25, "56.25"), (0.5317, "0.5317"), (12.0, "12")]
)
def test_numbers_are_written_as_a_reader_writes_them(number: float, text: str):
    assert questions.spoken(number) == text


@pytest.mark.parametrize(
    "text, shown",
    [
        ('conv("vgg16", 2).macs; ,d', "37,748,736"),
        ('conv("vgg16-a", 1).filters; d', "32"),
        ('linear("vgg16", 1).weights; d', "262144"),
        ("layer(16, 32, 3, 28).weights; d", "4608"),
        ('total("vgg16").weights; ,d', "14,977,728"),
        ('tied("resnet56", "layer2.4.conv2", 20); d', "18"),
        ("kept(64, 0.8); d", "12"),
        ("sqrt(2); .2f", "1.41"),
        ("1; ", "1"),
    ],
)
def test_numbers_are_computed(text: str, shown: str):
    assert expressions.printed(text) == shown


@pytest.mark.parametrize(
    "text, message",
    [
        ("kept(64, 0.8)", "expression; format"),
        ("kept(64, 1.0); d", "is not a share to remove"),
        ("keep(64, 0.8); d", "the functions are conv,"),
        ("open('secret'); s", "the functions are conv,"),
        ("__import__('os'); s", "the functions are conv,"),
        ("1 / 0; d", "division by zero"),
        ("1 +; d", "invalid syntax"),
        ('conv("vgg16", 99).macs; d', "the functions are conv,"),
        ("0.5; d", "format"),
    ],
)
def test_what_cannot_be_computed_is_refused(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        expressions.printed(text)


def test_measured_numbers_come_from_the_ledger(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path, "digits")
    with ledger.run("prunekit reproduce demo") as run:
        ledger.add("demo", [{"rate": 0.5, "correct": 3, "total": 4}], ["rate"], run)
    monkeypatch.setenv("PRUNEKIT_RESULTS", str(tmp_path))
    assert math.isclose(expressions.value('ledger("digits/demo; rate == 0.5; correct / total")'), 0.75)
    with pytest.raises(ValueError, match="0 rows answer"):
        expressions.value('ledger("digits/demo; rate == 0.9; correct")')
