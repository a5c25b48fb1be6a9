"""Which claims belong together on the page of claims, and which chapters show them: here and nowhere else.

Claims are named by regular expressions for their whole ids. A chapter that is not written yet is not linked.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

GROUPS = {  # the headings of the page of claims
    "Costs": r"1\.[^.]+|2",
    "Sensitivity": r"2[ab]\..+",
    "Criteria": r"(8|9|10)\..+|3\.[12]",
    "Residual networks": r"[67]\..+",
    "Retraining": r"1\..+\.(accuracy|scratch)|2c\..+|3\.3|later\..+",
    "Time": r"t3\..+",
}

CHAPTERS = {
    r"1\.[^.]+": ("01_one_filter", "11_table_1"),
    r"2": ("01_one_filter",),
    r"2a\.1": ("04_which_filters",),
    r"2a\.2|2b\..+": ("05_sensitivity",),
    r"(8|10)\..+": ("06_smallest_random_largest",),
    r"9\..+": ("07_activations",),
    r"[67]\..+": ("08_residual_networks",),
    r"3\.[12]": ("09_many_layers",),
    r"2c\..+|3\.3": ("10_retraining",),
    r"1\..+\.(accuracy|scratch)": ("11_table_1",),
    r"later\..+": ("11_table_1", "14_later_work"),
    r"t3\..+": ("12_wall_clock",),
}


def matching(id: str, patterns: Mapping[str, T]) -> T:
    """The value whose pattern fits a claim's id; there is one."""
    (found,) = (value for pattern, value in patterns.items() if re.fullmatch(pattern, id))
    return found


def group(id: str) -> str:
    """The heading under which a claim stands."""
    return matching(id, {pattern: name for name, pattern in GROUPS.items()})


def chapters(id: str) -> tuple[str, ...]:
    """The documents that show a claim, written or not."""
    return tuple(f"notebooks/{name}" for name in matching(id, CHAPTERS))
