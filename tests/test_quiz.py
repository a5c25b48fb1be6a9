"""The quizzes as built: their structure, and their answers computed a second time, by cutting real networks."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from bs4 import BeautifulSoup, Tag
from building import ROOT
from scipy.stats import binomtest
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import prunekit as pk
from prunekit.answers import flips
from prunekit.confidence import summary
from prunekit.paper.configurations import build

FEWEST, MOST = 8, 12  # questions of a quiz
PAGES = sorted(path.stem for path in (ROOT / "book").glob("quiz_*.md"))


@pytest.fixture(scope="module")
def quizzes(site: Path) -> dict[str, list[Tag]]:
    """The questions of each page."""
    read = {name: (site / "book" / f"{name}.html").read_text(encoding="utf-8") for name in PAGES}
    return {name: BeautifulSoup(text, "html.parser").select("form.question") for name, text in read.items()}


def title(form: Tag) -> str:
    return form.select_one("legend h2").get_text(strip=True).split(". ", 1)[1]


def answers(form: Tag) -> list[Tag]:
    return form.select("details.answers > ul > li")


def right(form: Tag) -> list[Tag]:
    return [item for item in answers(form) if "right" in item.get_attribute_list("class")]


def answer(form: Tag) -> str:
    """The right answer in words; there is one."""
    (item,) = right(form)
    return item.select_one(".line").get_text().removeprefix("Right: ")


def test_every_quiz_is_in_the_contents_and_has_its_share_of_questions(quizzes: dict[str, list[Tag]]):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    assert len(PAGES) >= 2
    for name, forms in quizzes.items():
        assert f"book/{name}" in files
        assert FEWEST <= len(forms) <= MOST, name
        assert len({title(form) for form in forms}) == len(forms), name


def test_every_question_is_a_named_group_of_named_fields(quizzes: dict[str, list[Tag]]):
    for form in (form for forms in quizzes.values() for form in forms):
        (group,) = form.select("fieldset")
        (prompt,) = form.select(f'[id="{group["aria-describedby"]}"]')
        assert group.find(recursive=False).name == "legend" and title(form)
        assert len(prompt.select("p:not(.how)")) >= 1 and prompt.select_one("p.how").get_text()
        fields = form.select("input")
        assert fields and {str(field["name"]) for field in fields} == {str(form["id"])}
        assert all(field.find_parent("label").get_text(strip=True) for field in fields)
        assert form.select_one('.feedback[role="status"]').get_text() == ""


def test_every_answer_is_explained_in_the_page_itself(quizzes: dict[str, list[Tag]]):
    for form in (form for forms in quizzes.values() for form in forms):
        kinds, number = {str(field["type"]) for field in form.select("input")}, len(right(form))
        if kinds == {"text"}:
            values = [item for item in answers(form) if item.has_attr("data-number")]
            assert number == 1 and right(form)[0] in values and len(values) >= 3, title(form)
            assert len(answers(form)) == len(values) + 1, title(form)
        else:
            assert kinds == ({"radio"} if number == 1 else {"checkbox"}), title(form)
            assert 1 <= number < len(answers(form)) == len(form.select(".choices li")) >= 3, title(form)
        for item in answers(form):
            assert len(" ".join(part.get_text() for part in item.find_all(recursive=False)[1:]).split()) >= 3, title(
                form
            )


def test_the_place_of_an_answer_does_not_give_it_away(quizzes: dict[str, list[Tag]]):
    places = [
        answers(form).index(right(form)[0])
        for forms in quizzes.values()
        for form in forms
        if form.select("[type=radio]")
    ]
    assert len(set(places)) >= 3 and max(places.count(place) for place in places) <= len(places) / 2


# The answers once more, in another way than the pages compute them.


def chain(*layers: nn.Module, image: tuple[int, ...]) -> tuple[nn.Sequential, pk.Graph]:
    network = nn.Sequential(*layers).double().eval()
    return network, pk.trace(network, torch.zeros(1, *image).double())


def multiply_adds(network: nn.Module, x: torch.Tensor) -> int:
    """As torch counts them, two operations each."""
    with FlopCounterMode(display=False) as counter:
        network(x)
    return counter.get_total_flops() // 2


def two_in_a_row() -> float:
    network, graph = chain(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 4, 3), image=(3, 12, 12))
    small = pk.prune(network, pk.plan(graph, {"0": 0.25, "1": 0.25}))
    x = torch.zeros(1, 3, 12, 12).double()
    before, after = (pk.cost(net, x).set_index("layer")["macs"] for net in (network, small))
    return 100 * after["1"] / before["1"]


def how_many_stay() -> int:
    network, graph = chain(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 4, 3), image=(3, 8, 8))
    return len(pk.prune(network, pk.plan(graph, {"0": 0.8})).get_parameter("0.weight"))


def last_conv() -> float:
    network, x = pk.nets.vgg16(), torch.zeros(1, 3, 32, 32)
    small = pk.prune(network, pk.plan(pk.trace(network, x), {"features.40": 0.5}))
    before, after = (pk.cost(net, x)["weights"].sum() for net in (network, small))
    return before - after


def after_flatten() -> int:
    network, graph = chain(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(200, 10), image=(3, 5, 5))
    return 200 - pk.prune(network, pk.plan_by_hand(graph, {"0": [2]})).get_parameter("2.weight").shape[1]


class Beside(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.reader = nn.Conv2d(3, 24, 1), nn.Conv2d(3, 40, 1), nn.Conv2d(64, 5, 1)

    def forward(self, x):
        return self.reader(torch.cat([self.a(x), self.b(x)], dim=1))


def place_among_others() -> int:
    network, x = Beside().double().eval(), torch.zeros(1, 3, 4, 4).double()
    with torch.no_grad():
        network.reader.weight.copy_(torch.arange(64.0)[None, :, None, None].expand(5, 64, 1, 1))
    small = pk.prune(network, pk.plan_by_hand(pk.trace(network, x), {"b": [10]}))
    (gone,) = set(range(64)) - set(small.reader.weight[0].flatten().int().tolist())
    return gone


def reach_of_a_tie() -> int:
    network, x = pk.nets.resnet56(), torch.zeros(1, 3, 32, 32)
    small = pk.prune(network, pk.plan_by_hand(pk.trace(network, x), {"layer3.4.conv2": [40]}))
    convs = [[m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)] for net in (network, small)]
    return sum(a != b for a, b in zip(*convs, strict=True))


def half_width() -> float:
    interval = binomtest(9200, 10_000).proportion_ci(method="wilson")
    return 100 * (interval.high - interval.low) / 2


def same_compute() -> float:
    x = torch.zeros(1, 3, 32, 32)
    return 164 * multiply_adds(pk.nets.vgg16().eval(), x) / multiply_adds(build("vgg16-a").eval(), x)


def rate_of_a_chain() -> int:
    """Of all whole percentages, the rate that leaves the share nearest to 64% of a conv between two others."""
    network, graph = chain(*(nn.Conv2d(100, 100, 1) for _ in range(3)), image=(100, 2, 2))
    whole = pk.cost(network, torch.zeros(1, 100, 2, 2).double())["macs"][1]
    left = {p: pk.cost_of(graph, pk.plan(graph, {"0": p / 100, "1": p / 100}))["macs"][1] for p in range(1, 60)}
    return min(left, key=lambda p: abs(left[p] / whole - 0.64))


def calibration_error() -> float:
    sure, right = torch.tensor([0.7] * 200 + [0.9] * 800), torch.ones(1000)
    right[:80] = right[200:240] = 0  # 60% of 200 and 95% of 800 are right
    logits = torch.stack([sure.log(), (1 - sure).log()], dim=1)
    return 100 * summary(logits, (1 - right).long())["ece"]


def changed_answers() -> int:
    kinds = [(0, 0)] * (480 - 12) + [(0, 1)] * 12 + [(1, 0)] * 9 + [(1, 2)] * 4  # class 0 is right: before, after
    kinds += [(1, 1)] * (500 - len(kinds))
    before, after = nn.functional.one_hot(torch.tensor(kinds), 3).float().unbind(1)
    row = flips(before, after, torch.zeros(500).long(), ["a", "b", "c"]).iloc[-1]
    assert (row["lost"], row["gained"]) == (12, 9) and (after.argmax(1) == 0).sum() == 477
    return row["changed"]


def cheapest_cuts() -> str:
    cuts = {"A": (30, 9), "B": (20, 4), "C": (15, 6)}
    sets = [names for n in range(1, 4) for names in combinations(cuts, n) if sum(cuts[c][0] for c in names) >= 30]
    best = min(sets, key=lambda names: sum(cuts[c][1] for c in names))
    return " and ".join(best) + (" alone." if len(best) == 1 else ".")


def smallest_norm() -> str:
    weights = torch.tensor([[3.0, -3, 2, -2], [1, 1, -1, 1], [2, 2, 2, 2]])[:, :, None, None]
    return "ABC"[int(pk.criteria.l1(weights).argmin())] + "."


def greedy_choice() -> str:
    network, graph = chain(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 1, 1), image=(2, 1, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([3.0, 1, 3])[:, None, None, None].expand(3, 2, 1, 1))
        network[1].weight.copy_(torch.tensor([[2.0, 4, 1], [6, 0, 3], [1, 1, 3]]).T[:, :, None, None])
    kept = pk.plan(graph, {}, keep={"0": 2, "1": 2}, strategy="greedy").kept["1"]
    (gone,) = {0, 1, 2} - set(kept)
    return "ABC"[gone] + "."


NUMBERS: dict[str, Callable[[], Any]] = {
    "What a layer costs": lambda: multiply_adds(nn.Conv2d(16, 32, 3, padding=1), torch.zeros(1, 16, 28, 28)),
    "Two layers in a row": two_in_a_row,
    "How many stay": how_many_stay,
    "The last conv": last_conv,
    "After the flatten": after_flatten,
    "A place among others": place_among_others,
    "How sure is a count": half_width,
    "How far a tie reaches": reach_of_a_tie,
    "From scratch on the same compute": same_compute,
    "Seconds and multiply-adds": lambda: 100 - (40 + 60 / 2),
    "One rate for all": rate_of_a_chain,
    "How far off is confidence": calibration_error,
    "Behind a nearly equal count": changed_answers,
}
WORDS: dict[str, Callable[[], str]] = {
    "Which filter goes": smallest_norm,
    "Independent and greedy": greedy_choice,
    "Three cuts and a budget": cheapest_cuts,
}


def test_every_number_is_computed_again(quizzes: dict[str, list[Tag]]):
    asked = [title(form) for forms in quizzes.values() for form in forms if form.select_one(".number")]
    assert sorted(asked) == sorted(NUMBERS)


@pytest.mark.parametrize("question", NUMBERS)
def test_numbers_are_right(quizzes: dict[str, list[Tag]], question: str):
    (form,) = [form for forms in quizzes.values() for form in forms if title(form) == question]
    (item,) = right(form)
    assert float(item["data-number"]) == pytest.approx(float(NUMBERS[question]()), rel=1e-6)


@pytest.mark.parametrize("question", WORDS)
def test_words_are_right(quizzes: dict[str, list[Tag]], question: str):
    (form,) = [form for forms in quizzes.values() for form in forms if title(form) == question]
    assert answer(form) == WORDS[question]()
