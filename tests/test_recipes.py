"""The learning rate of every step, by every schedule."""

from dataclasses import replace

import numpy as np
import pytest

from prunekit.recipes import PAPER, PAPER_RETRAINING, SHORT, Recipe, learning_rates


def rates(recipe: Recipe, steps: int) -> np.ndarray:
    """The learning rate of every step of every epoch (epochs, steps)."""
    return np.array(learning_rates(recipe, steps)).reshape(recipe.epochs, steps)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_papers_schedule(steps: int):
    lr = rates(PAPER, steps)
    np.testing.assert_allclose(lr[:81], 0.1)
    np.testing.assert_allclose(lr[81:122], 0.01)
    np.testing.assert_allclose(lr[122:164], 0.001)


def test_the_papers_retraining_is_constant():
    lr = rates(PAPER_RETRAINING, 2)
    assert lr.shape == (40, 2) and (lr == 0.001).all()


def test_one_cycle_by_hand():
    """Up for a quarter of all steps, down for the rest, each half a cosine."""
    lr = rates(replace(SHORT, epochs=4), 25).ravel()
    up = np.arange(25) / 24
    down = np.arange(1, 76) / 76
    low, high, end = 0.1 / 25, 0.1, 0.1 / 25 / 1e4
    wanted = np.concatenate([
        high + (low - high) / 2 * (1 + np.cos(np.pi * up)),
        end + (high - end) / 2 * (1 + np.cos(np.pi * down)),
    ])  # fmt: skip
    assert abs(int(lr.argmax()) - 24) <= 1 and lr.max() == pytest.approx(0.1, rel=0.01)
    np.testing.assert_allclose(lr, wanted, atol=0.003)


@pytest.mark.parametrize("total", range(1, 12))
def test_one_cycle_of_few_steps_goes_up_and_down(total: int):
    lr = rates(replace(SHORT, epochs=1), total).ravel()
    assert ((lr > 0) & (lr <= 0.1 + 1e-12)).all()
    assert (np.diff(np.sign(np.diff(lr))) <= 0).all()  # never up again after down


@pytest.mark.parametrize("epochs, milestones", [(164, (81, 122)), (82, (40, 61)), (4, (2, 3)), (1, (1, 1))])
def test_a_recipe_stretched(epochs: int, milestones: tuple[int, ...]):
    assert PAPER.lasting(epochs).milestones == milestones
    assert rates(PAPER.lasting(epochs), 2)[0, 0] == 0.1
