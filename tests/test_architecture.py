"""ARCHITECTURE.md rules, as its first line says: the layout's order of files, and what can be read in one sitting."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
MODULES = {path.stem: path for path in (ROOT / "prunekit").glob("*.py") if path.stem != "__init__"}


def layout() -> list[str]:
    """The modules of `prunekit` in the order of the layout."""
    block = TEXT[TEXT.index("\nprunekit/ ") : TEXT.index("\nbook/ ")]
    return re.findall(r"\b(\w+)\.py", "\n".join(re.findall(r"^  ((?:\w+\.py\s+)+)", block, flags=re.MULTILINE)))


def imported(module: str) -> set[str]:
    """The modules of `prunekit` that a module imports, be it for its types alone."""
    nodes = ast.walk(ast.parse(MODULES[module].read_text()))
    used = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 1]
    return {name for node in used for name in ([node.module] if node.module else [a.name for a in node.names])}


def code(module: str) -> int:
    """Lines of a module without blank ones, comments and docstrings."""
    text = MODULES[module].read_text()
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documented = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds) and ast.get_docstring(node)]
    told = {n for node in documented for n in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)}
    lines = enumerate(map(str.strip, text.splitlines()), start=1)
    return sum(bool(line) and not line.startswith("#") and number not in told for number, line in lines)


def test_the_layout_has_every_module_once():
    assert sorted(layout()) == sorted(MODULES)


@pytest.mark.parametrize("module", layout())
def test_a_module_imports_only_from_above(module: str):
    above = layout()[: layout().index(module)]
    assert {name for name in imported(module) if name in MODULES} <= set(above)


def test_one_sitting():
    (sitting,) = re.findall(r"^In one sitting: (.+?)\. ", TEXT, flags=re.MULTILINE | re.DOTALL)
    (lines,) = re.findall(r"about ([\d,]+) lines of code", TEXT)
    needed, found = {"surgery"}, set()
    while needed:
        found |= needed
        needed = set().union(*map(imported, needed)) - found
    assert set(re.findall(r"`(\w+)`", sitting)) == found
    assert sum(map(code, found)) == pytest.approx(int(lines.replace(",", "")), rel=0.04)
