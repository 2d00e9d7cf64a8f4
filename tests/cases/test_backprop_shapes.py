import itertools

import numpy as np
import pytest

from jaxnum.cases import backprop_shapes
from jaxnum.cases.backprop_shapes import LEARNED, MENDS, Config, X, Y, examine, one_pass, weights

CASE, CONFIG = backprop_shapes, Config()


def test_the_script_ends_in_the_broadcast_error():
    with pytest.raises(ValueError, match=r"\(3,4\) \(4,2\)"):
        one_pass()()


def test_the_shapes_it_has_and_must_have(story):
    [table] = story.diagnoses[0].tables
    shapes = {row[0]: row[2:4] for row in table.rows}
    assert shapes["slope2"] == ("(4, 4)", "(4, 1)")  # the outer product
    assert shapes["dW2"] == ("(4, 3)", "(1, 3)")  # not summed over the samples
    assert shapes["dW1"] == ("fails", "(3, 2)")
    assert set(shapes) == {
        *("z1", "a1", "z2", "a2", "error", "slope1", "slope2"),
        *("delta1", "delta2", "back1", "dW1", "dW2", "new_W2"),
    }


def test_every_mistake_is_named_with_its_right_line(story):
    cures = {(f.code, f.evidence["quantity"]): f.cure for f in story.diagnoses[0].findings}
    assert cures == {
        ("flipped-sign", "a1"): "hidden = 1 / (1 + np.exp(-hidden_sum))",
        ("sum-for-product", "z2"): "output_sum = hidden @ w2.T",
        ("flipped-sign", "a2"): "output = 1 / (1 + np.exp(-output_sum))",
        ("outer-product", "slope2"): "output_slope = output * (1 - output)",
        ("division", "dW2"): "w2_update = output_delta.T @ hidden",
        ("not-summed", "dW2"): "w2_update = output_delta.T @ hidden",
        ("division", "back1"): "back = output_delta @ w2",
        ("elementwise-product", "dW1"): "w1_update = hidden_delta.T @ x",
    }


def test_whatever_is_mended_the_rest_is_still_found():
    for count in range(len(MENDS) + 1):
        for mended in itertools.combinations(MENDS, count):
            found = {f.code for f in examine(Config(seed=count), mended).findings}
            assert found == set(MENDS) - set(mended), mended


def test_the_cures_are_lines_that_run_and_are_the_gradient():
    # The right lines as the findings give them, run on their own, against central differences of the loss.
    w1, w2 = weights(Config(spread=1.0))
    scope = {"np": np, "x": X, "y": Y, "w1": w1, "w2": w2}
    rows = examine(Config(spread=1.0), tuple(MENDS)).tables[0].rows
    exec(
        "\n".join(f"{row[0]} = {row[4]}" for row in rows if row[0][:3] != "new"),
        scope | {"W1": w1, "W2": w2},
        out := {},
    )

    def loss(w1, w2):
        hidden = 1 / (1 + np.exp(-X @ w1.T))
        return 0.5 * np.sum((1 / (1 + np.exp(-hidden @ w2.T)) - Y) ** 2)

    h = 1e-6  # truncation h² and rounding eps/h, both below 1e-9
    for name, w in (("dW1", w1), ("dW2", w2)):
        for index in np.ndindex(*w.shape):
            shift = np.zeros_like(w)
            shift[index] = h
            ends = [loss(w1 + s * shift, w2) if name == "dW1" else loss(w1, w2 + s * shift) for s in (1, -1)]
            np.testing.assert_allclose(out[name][index], (ends[0] - ends[1]) / (2 * h), atol=2e-9)


def test_with_biases_momentum_and_the_right_pass_it_learns(story):
    last = story.arrays["losses_biases_and_momentum"][:, -1]
    assert last.shape == (20,)
    assert np.sum(last < LEARNED) >= 19, np.sort(last)[-3:]
    assert np.sum(story.arrays["losses_no_biases"][:, -1] < LEARNED) < 19
    assert np.sum(story.arrays["losses_no_momentum"][:, -1] < LEARNED) < 19
    first = story.arrays["losses_biases_and_momentum"][:, 0]
    np.testing.assert_allclose(first, 0.25, atol=0.02)  # small weights: every answer is about one half
    answers = story.arrays["answers"]
    np.testing.assert_allclose(np.mean((answers - Y) ** 2, axis=(1, 2)), last, rtol=1e-10)


def test_pictures(pictures):
    assert list(pictures) == ["shapes", "training", "decision"]
