import numpy as np
import pytest

from jaxnum import diagnose
from jaxnum.diagnose import Network

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(5, 3)), RNG.uniform(size=(5, 2))
W1, W2, W3 = (RNG.normal(size=s) for s in ((3, 4), (4, 6), (6, 2)))
NETWORK = Network(X, Y)


def logistic(z):
    return 1 / (1 + np.exp(-z))


def right():
    """A pass through three layers, as (inputs, outputs), with every quantity under its role."""
    z1 = X @ W1
    a1 = logistic(z1)
    z2 = a1 @ W2
    a2 = logistic(z2)
    z3 = a2 @ W3
    a3 = logistic(z3)
    error = a3 - Y
    slope3 = a3 * (1 - a3)
    delta3 = error * slope3
    dW3 = a2.T @ delta3
    db3 = delta3.sum(0)
    back2 = delta3 @ W3.T
    slope2 = a2 * (1 - a2)
    delta2 = back2 * slope2
    dW2 = a1.T @ delta2
    back1 = delta2 @ W2.T
    slope1 = a1 * (1 - a1)
    delta1 = back1 * slope1
    dW1 = X.T @ delta1
    new_W1 = W1 - 0.1 * dW1
    return locals()


def look(values, weights=(W1, W2, W3), network=NETWORK, **options):
    return diagnose.shapes(values, network, weights, **options)


def codes(found):
    return [(f.code, f.evidence["quantity"]) for f in found.findings]


def test_silent_on_a_right_pass():
    found = look(right())
    assert found.ok, found
    assert len(found.tables[0].rows) == 20
    assert look(right, names=None).ok  # the function itself, watched


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("the other sign of the error", lambda v: {k: -v[k] for k in ("error", "delta3", "back2", "delta2", "back1")}),
        ("means over the samples", lambda v: {k: v[k] / 5 for k in ("dW1", "dW2", "dW3", "db3")}),
        ("twice the error", lambda v: {"error": 2 * v["error"], "delta3": 2 * v["delta3"], "back2": 2 * v["back2"]}),
    ],
)
def test_conventions_are_no_mistakes(name, change):
    values = right() | change(right())
    for later in ("delta2", "dW3", "db3", "dW2", "back1", "delta1", "dW1"):
        if later not in change(right()):
            values.pop(later)
    values.pop("new_W1")
    assert look(values).ok, (name, str(look(values)))


def test_columns_are_recognized():
    values = {k: v.T if k[:2] == "dW" or k == "new_W1" else v for k, v in right().items() if np.ndim(v)}
    found = look(values, (W1.T, W2.T, W3.T))
    assert found.ok, found
    assert any("(outputs, inputs)" in note for note in found.notes)


# A wrong line, planted; everything after it is computed from what it gave.
PLANTED = {
    ("flipped-sign", "a2"): lambda v: logistic(-v["z2"]),
    ("missing-activation", "a1"): lambda v: v["z1"],
    ("wrong-sign", "z2"): lambda v: -(v["a1"] @ W2),
    ("derivative-of-activation", "slope1"): lambda v: logistic(v["a1"]) * (1 - logistic(v["a1"])),
    ("derivative-of-sum", "slope3"): lambda v: v["z3"] * (1 - v["z3"]),
    ("missing-slope", "slope2"): lambda v: np.ones_like(v["z2"]),
    ("outer-product", "slope1"): lambda v: v["a1"] @ (1 - v["a1"]).T,
    ("division", "delta3"): lambda v: v["error"] / v["slope3"],
    ("missing-slope", "delta2"): lambda v: v["back2"],
    ("missing-weights", "back1"): lambda v: np.repeat(v["delta2"].sum(1, keepdims=True), 4, axis=1),
    ("activation-sent-back", "back2"): lambda v: v["a3"] @ W3.T,
    ("not-summed", "dW3"): lambda v: v["a2"][:, :, None] * v["delta3"][:, None, :],
    ("division", "dW2"): lambda v: (1 / v["a1"]).T @ v["delta2"],
    ("averaged", "dW2"): lambda v: v["a1"].mean(0)[:, None] * v["delta2"].sum(0)[None, :],
    ("not-summed", "db3"): lambda v: v["delta3"],
    ("wrong-sign", "new_W1"): lambda v: W1 + 0.1 * v["dW1"],
    ("wrong-shape", "z3"): lambda v: np.ones((5, 7)) * v["z3"][:, :1],
    ("wrong-value", "back2"): lambda v: 1.01 * (v["delta3"] @ W3.T) + 0.1,
}


@pytest.mark.parametrize("planted", PLANTED, ids=lambda p: "-".join(p))
def test_a_planted_line_is_named_and_nothing_else(planted):
    values = right()
    values[planted[1]] = PLANTED[planted](values)
    after = {k: v for k, v in values.items() if list(values).index(k) <= list(values).index(planted[1])}
    found = look(after)
    assert codes(found) == [planted], found
    assert values[planted[1]].shape == found.findings[0].evidence.get("shape", values[planted[1]].shape)


def test_what_follows_from_a_mistake_is_not_blamed():
    values = right()
    values["slope3"] = values["a3"] @ (1 - values["a3"]).T
    values["delta3"] = values["slope3"] @ values["error"]
    values["dW3"] = values["a2"].T @ values["delta3"]
    for name in ("db3", "back2", "delta2", "dW2", "back1", "delta1", "dW1", "new_W1"):
        values.pop(name)
    found = look(values)
    assert codes(found) == [("outer-product", "slope3")]
    verdicts = {row[0]: row[-1] for row in found.tables[0].rows}
    assert verdicts["delta3"] == "follows from slope3"
    assert verdicts["dW3"] == "right"  # right for the delta that it was given


def test_a_pass_that_raises_is_watched_up_to_there():
    def fails():
        hidden_sum = X @ W1
        hidden = np.tanh(hidden_sum)
        second_sum = hidden @ W2.T
        return hidden, second_sum

    names = {"z1": "hidden_sum", "a1": "hidden", "z2": "second_sum"}
    found = look(fails, network=Network(X, Y, activation=np.tanh), names=names)
    [finding] = found.findings
    assert finding.evidence["quantity"] == "z2"
    assert finding.cure == "second_sum = hidden @ W2"
    assert any("does not end" in note for note in found.notes)


def test_nothing_is_left_behind():
    import sys

    before = sys.getprofile()
    look(right, names=None)
    assert sys.getprofile() is before


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: look(right(), network=3), "`network` must be"),
        (lambda: look(right(), (W1, W3)), "`weights` must lead"),
        (lambda: look(3), "`run` must be"),
        (lambda: look(max), "`run` must be"),
        (lambda: look({"q": X}), "`names` must name"),
    ],
)
def test_bad_arguments_are_named(call, says):
    with pytest.raises(ValueError, match="Argument") as error:
        call()
    assert says in str(error.value), error.value
    assert "\n" not in str(error.value)
