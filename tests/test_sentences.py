"""Tables of cells: columns of sentences wrap, columns of numbers do not."""

import pandas as pd
import pytest
from bs4 import BeautifulSoup

import sentences

SENTENCE = "of 27 first convs 12 lose less than 2 points at 50%"


def marked(frame: pd.DataFrame) -> list[str]:
    """The text of every cell that is marked."""
    page = f"<p>{SENTENCE}</p>{frame.to_html()}<p>end</p>"
    soup = BeautifulSoup(sentences.TABLE.sub(lambda found: sentences.wrapped(found.group()), page), "html.parser")
    assert soup.get_text() == BeautifulSoup(page, "html.parser").get_text(), "nothing is lost"
    return [cell.get_text() for cell in soup.select(".words")]


@pytest.mark.parametrize("index", [["claim"], ["claim", "seed"]])
def test_the_whole_column_of_a_sentence_is_marked_and_its_heading(index: list[str]):
    rows = {"claim": ["6.1", "6.1"], "seed": [0, 1], "numbers": [SENTENCE, "none"], "verdict": ["holds", "undecided"]}
    assert sorted(marked(pd.DataFrame(rows).set_index(index))) == sorted(["numbers", SENTENCE, "none"])


def test_names_of_rows_that_are_sentences_wrap():
    index = pd.MultiIndex.from_product([["right after the cut of all"], [0.1, 0.5]], names=["when", "rate"])
    assert marked(pd.DataFrame({"points": [-0.2, 0.0]}, index=index)) == ["right after the cut of all"]


def test_numbers_names_and_intervals_are_left_alone():
    frame = pd.DataFrame({"filters": [512], "layer": ["a_very_long_name_of_a_layer.0"], "interval": ["-0.61 to 0.83"]})
    assert marked(frame) == []
    assert marked(frame.head(0)) == []
