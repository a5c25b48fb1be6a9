"""Answers class by class, and flips between two networks: against counting by hand, sklearn and scipy."""

import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn

from prunekit import answers, data, nets, train
from prunekit.errors import PrunekitError
from prunekit.intervals import wilson


def one_hot(*chosen: int, classes: int = 3) -> Tensor:
    return torch.eye(classes)[list(chosen)]


def test_logits_are_those_of_eval_mode_and_count_as_evaluate_does():
    split = data.load("digits").test.take(slice(60))
    model = nets.vgg16(1 / 16).train()
    found, labels = answers.logits(model, data.Batches(split, 25))
    assert model.training and found.shape == (60, 10) and found.dtype == torch.float32
    assert torch.equal(labels, split.labels)
    score = train.evaluate(model, data.Batches(split, 25))
    assert int((found.argmax(1) == labels).sum()) == score.correct
    with pytest.raises(PrunekitError, match="not one image"):
        answers.logits(model, [])


def test_each_class_is_counted_as_in_a_confusion_matrix():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (200,), generator=generator)
    given = {name: torch.randn(200, 3, generator=generator) for name in ("a", "b")}
    table = answers.by_class(given, labels, ("x", "y", "z"), confidence=0.9)
    assert list(table["network"]) == ["a"] * 3 + ["b"] * 3 and list(table["class"]) == ["x", "y", "z"] * 2
    for name, rows in table.groupby("network"):
        matrix = confusion_matrix(labels, given[str(name)].argmax(1))
        assert rows["correct"].tolist() == matrix.diagonal().tolist()
        assert rows["total"].tolist() == matrix.sum(1).tolist()
        for row in rows.itertuples():
            assert (row.low, row.high) == wilson(row.correct, row.total, 0.9)
        assert (rows["accuracy"] == rows["correct"] / rows["total"]).all()


def test_a_class_without_images_has_no_row():
    table = answers.by_class({"a": one_hot(0, 2)}, torch.tensor([0, 2]), ("x", "y", "z"))
    assert list(table["class"]) == ["x", "z"]
    assert list(answers.flips(one_hot(0, 2), one_hot(0, 2), torch.tensor([0, 2]), "xyz")["class"]) == ["x", "z", "all"]


def test_flips_by_hand():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2])
    before = one_hot(0, 0, 1, 1, 1, 0, 1, 2)
    after = one_hot(0, 2, 0, 2, 0, 0, 2, 2)
    table = answers.flips(before, after, labels, ("x", "y", "z")).set_index("class")
    assert table["total"].to_dict() == {"x": 4, "y": 3, "z": 1, "all": 8}
    assert table["lost"].to_dict() == {"x": 1, "y": 2, "z": 0, "all": 3}
    assert table["gained"].to_dict() == {"x": 1, "y": 0, "z": 0, "all": 1}
    assert table["changed"].to_dict() == {"x": 3, "y": 2, "z": 0, "all": 5}, "wrong and wrong otherwise counts"
    assert table["p"].to_dict() == pytest.approx({"x": 1, "y": 0.5, "z": 1, "all": binomtest(3, 4).pvalue})
    assert table["p_adjusted"].to_dict() == pytest.approx({"x": 1, "y": 1, "z": 1, "all": binomtest(3, 4).pvalue})


def test_p_is_mcnemars_and_adjusted_for_the_classes_that_are_there():
    """All of 12 changes are losses: p = 2 / 2^12, and twice that, since two of the three classes have images."""
    labels = torch.tensor([0] * 12 + [1])
    table = answers.flips(one_hot(*[0] * 12, 1), one_hot(*[2] * 12, 1), labels, ("x", "y", "z")).set_index("class")
    assert table.loc["x", ["p", "p_adjusted"]].tolist() == pytest.approx([2**-11, 2**-10])


@pytest.mark.parametrize("given", [one_hot(0, 1), torch.zeros(3)])
def test_answers_to_other_images_are_refused(given):
    with pytest.raises(PrunekitError, match=r"'a': logits of shape .* for 3 labels"):
        answers.by_class({"a": given}, torch.tensor([0, 1, 2]), ("x", "y", "z"))


def test_a_module_in_train_mode_is_put_back_even_if_it_fails():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).train()
    with pytest.raises(RuntimeError):
        answers.logits(model, [(torch.zeros(1, 3), torch.tensor([0]))])
    assert model.training
