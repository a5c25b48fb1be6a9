"""The glossary: its words are those of the book, in order, and each is explained by others or leads to a chapter."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "book" / "glossary.md"
LEAST, MOST = 8, 75  # words of a definition
IRREGULAR = {"activation criterion": "activation criteria", "criterion": "criteria"}

Entries = dict[str, tuple[tuple[str, ...], str]]  # by its first word, all words of an entry and the definition


def entries() -> Entries:
    (body,) = re.findall(r"```\{glossary\}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    found: Entries = {}
    for entry in body.strip().split("\n\n"):
        words = [line for line in entry.splitlines() if not line.startswith(" ")]
        found[words[0]] = (tuple(words), "\n".join(entry.splitlines()[len(words) :]))
    return found


ENTRIES = entries()


def links(text: str) -> list[tuple[str, str]]:
    """What a text links to: the words of the link, and the file."""
    return re.findall(r"\[([^]]+)\]\(([^)]+)\)", text)


def terms(text: str) -> list[str]:
    """The entries that a text refers to."""
    return [(found[2] or found[1]).strip() for found in re.finditer(r"\{term\}`([^`<]+)(?:<([^>]+)>)?`", text)]


def book() -> str:
    """All that is written for readers, apart from the glossary itself."""
    texts = [path.read_text() for path in (ROOT / "book").glob("*.md") if path != PAGE]
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        texts += [cell.source for cell in cells if cell.cell_type == "markdown"]
    return re.sub(r"\$\\ell_(\d)\$|ℓ(\d)", r"l\1\2", "\n".join(texts))


BOOK = book()


def used(word: str) -> bool:
    forms = "|".join(re.escape(form) for form in (word, IRREGULAR.get(word, word)))
    return re.search(rf"(?<!\w)({forms})(e?s|d|ing)?(?!\w)".replace(r"\ ", r"\s+"), BOOK, re.IGNORECASE) is not None


def test_terms_are_sorted():
    assert list(ENTRIES) == sorted(ENTRIES, key=str.casefold) and len(ENTRIES) > 40


@pytest.mark.parametrize("word", [word for words, _ in ENTRIES.values() for word in words])
def test_every_term_is_used_in_the_book(word: str):
    assert used(word)


def test_a_word_that_is_not_used_is_found():
    assert used("filter") and used("l1 norm") and not used("frobnication")


@pytest.mark.parametrize("word", ENTRIES)
def test_a_definition_is_short_and_leads_to_where_it_is_explained(word: str):
    _, text = ENTRIES[word]
    assert LEAST <= len(re.sub(r"\([^)]*\)|<[^>]*>", "", text).split()) <= MOST
    assert text.rstrip().endswith(".") and links(text)
    for shown, target in links(text):
        path = (PAGE.parent / target).resolve()
        assert path.is_file(), target
        if path.suffix == ".ipynb":
            assert int(re.findall(r"\d+", shown)[-1]) == int(path.name[:2]), f"{shown} leads to {path.name}"
        else:
            assert not re.search(r"\d", shown)


def test_no_term_is_defined_by_an_undefined_one_or_by_itself():
    by_word = {word: first for first, (words, _) in ENTRIES.items() for word in words}
    needs = {first: [by_word[word] for word in terms(text)] for first, (_, text) in ENTRIES.items()}
    known: set[str] = set()
    while ready := {first for first in needs if first not in known and known.issuperset(needs[first])}:
        known |= ready
    assert known == set(needs), f"defined in a circle: {sorted(set(needs) - known)}"


def test_a_term_is_linked_at_most_once_in_an_entry():
    for first, (_, text) in ENTRIES.items():
        assert len(terms(text)) == len(set(terms(text))), first
