import numpy as np
import pytest
from diagnose.backprop_by_hand import data, program, start

from jaxnum import diagnose

# Mistake in the hand-written pass -> code of the first finding. Together the fifteen classes of the catalogue.
CODES = {
    "slope at activation hidden": "derivative-of-activation",
    "slope at activation output": "derivative-of-activation",
    "slope of sum hidden": "derivative-of-sum",
    "no slope hidden": "missing-slope",
    "no slope output": "missing-slope",
    "other slope hidden": "other-slope",
    "half slope output": "half-slope",
    "slope twice output": "slope-twice",
    "no slope in last weights": "missing-slope-in-weights",
    "no slope in back sum": "missing-slope-in-back-sum",
    "weight for activation": "weight-for-activation",
    "sum for activation": "sum-for-activation",
    "product of means": "product-of-means",
    "activation sent back": "activation-sent-back",
    "weights skipped": "weights-skipped",
    "updated early": "weights-updated-early",
    "bias averaged": "bias-averaged",
    "bias first sample": "bias-from-one-sample",
    "bias zero": "bias-left-out",
    "bias all units": "bias-summed-over-units",
    "last sample only": "one-sample-only",
    "output": "gradient-of-output",
    "one entry": "wrong-components",
    "sign": "wrong-sign",
    "factor 2": "constant-factor",
    "sum for mean": "constant-factor",
    "decay": "weight-decay",
    "w2 twice": "leaf-factor",
    "w2 transposed": "transposed-leaf",
    "odd slope hidden": "unknown-cause",
}
SIZES = (2, 3, 1)
X, Y = data(SIZES)
AT = start(SIZES)
LOSS, RIGHT = program(X, Y)  # one loss for all of them: it is compiled once


def claim(faults, **options):
    return program(X, Y, faults=faults, **options)[1]


def test_right_code_is_right():
    diagnosis = diagnose.gradient(LOSS, RIGHT, AT)
    assert diagnosis.ok, diagnosis
    assert any("network" in note for note in diagnosis.notes)


@pytest.mark.parametrize("mistake", CODES)
def test_planted_mistake_is_named(mistake):
    [finding] = diagnose.gradient(LOSS, claim(mistake), AT).findings
    assert finding.code == CODES[mistake], finding


# (sizes, options, mistakes): other depths, activations, losses and layouts.
NETWORKS = [
    (
        (3, 4, 4, 2),
        {"hidden": "tanh", "cost": "half squares", "columns": True},
        ("slope at activation hidden", "no slope in back sum", "weights not transposed", "updated early"),
    ),
    (
        (3, 4, 3),
        {"hidden": "relu", "final": "softmax", "cost": "classes"},
        ("softmax elementwise", "no slope hidden", "no slope in back sum"),
    ),
    ((2, 3, 3, 1), {"hidden": "tanh", "cost": "binary"}, ("slope twice output", "other slope hidden", "bias zero")),
    ((3, 3, 3), {"final": "linear", "columns": True}, ("other slope hidden", "w2 transposed")),
    ((2, 4, 4, 3, 1), {"bias": False}, ("sum for activation", "updated early")),
]


@pytest.mark.parametrize(("sizes", "options", "mistakes"), NETWORKS)
def test_other_networks_right_code_first(sizes, options, mistakes):
    classes = options.get("final") == "softmax"
    x, y = data(sizes, classes=classes)
    at = start(sizes, columns=options.get("columns", False), bias=options.get("bias", True))
    codes = CODES | {"weights not transposed": "weights-not-transposed", "softmax elementwise": "softmax-elementwise"}
    for mistake in ("", *mistakes):
        loss, gradient = program(x, y, faults=mistake, **options)
        found = [f.code for f in diagnose.gradient(loss, gradient, at).findings]
        assert found == ([codes[mistake]] if mistake else []), mistake


@pytest.mark.parametrize(
    ("mistakes", "codes"),
    [
        (("no slope in back sum", "bias averaged"), {"missing-slope-in-back-sum", "bias-averaged"}),
        (("slope at activation hidden", "no slope output"), {"derivative-of-activation", "missing-slope"}),
        (("updated early", "bias zero"), {"weights-updated-early", "bias-left-out"}),
        (("other slope hidden", "factor 2"), {"other-slope", "constant-factor"}),
        (("slope at activation hidden", "sign"), {"derivative-of-activation", "wrong-sign"}),
        (("slope at activation output", "w2 twice"), {"derivative-of-activation", "leaf-factor"}),
        (("no slope hidden", "decay"), {"missing-slope", "weight-decay"}),
    ],
)
def test_two_mistakes_are_both_named(mistakes, codes):
    found = diagnose.gradient(LOSS, claim(mistakes), AT).findings
    assert {f.code for f in found} == codes, found


def test_early_updates_give_their_rate():
    [finding] = diagnose.gradient(LOSS, claim("updated early", rate=0.05), AT).findings
    assert finding.evidence["rate"] == pytest.approx(0.05, rel=1e-6)


def test_first_wrong_layer_is_counted_from_the_output():
    [finding] = diagnose.gradient(LOSS, claim("odd slope hidden"), AT).findings
    assert finding.evidence["first_wrong_layer"] == 1
    assert finding.evidence["cause"] == "unknown"
    assert finding.evidence["wrong_leaves"] == ["leaf 0", "leaf 1"]


def test_the_first_wrong_delta_is_named():
    x, y = data((2, 3, 4, 1))

    def forward(w1, b1, w2, b2, w3, b3):
        g = up(x @ w1 + b1)
        h = up(g @ w2 + b2)
        return g, h, up(h @ w3 + b3)

    def deltas(w1, b1, w2, b2, w3, b3, odd=True):
        g, h, o = forward(w1, b1, w2, b2, w3, b3)
        d3 = (o - y) * o * (1 - o)  # the 2/n comes at the end, as often
        d2 = d3 @ w3.T * (np.sqrt(h * (1 - h)) if odd else h * (1 - h))
        return d2 @ w2.T * g * (1 - g), d2, d3

    def gradient(*p):
        g, h, _ = forward(*p)
        inputs = zip((x, g, h), deltas(*p), strict=True)
        return [2 / len(x) * part for a, d in inputs for part in (a.T @ d, d.sum(0))]

    def loss(*p):
        return np.mean((forward(*p)[-1] - y) ** 2)

    diagnosis = diagnose.gradient(loss, gradient, start((2, 3, 4, 1)), deltas=deltas)
    [finding] = diagnosis.findings
    assert finding.evidence["first_wrong_delta"] == 2
    assert any("δ of hidden layer 2 is the first" in note for note in diagnosis.notes)
    with pytest.raises(ValueError, match="Argument `deltas` must return one array for each layer"):
        diagnose.gradient(loss, gradient, start((2, 3, 4, 1)), deltas=lambda *p: deltas(*p)[:2])


def test_integrability_splits_the_catalogue():
    # 0 to rounding where the claim is the gradient of another loss, of order one where it is that of nothing.
    expected = {"no slope output": True, "slope at activation hidden": False, "weights skipped": False, "decay": True}
    for mistake, symmetric in expected.items():
        [finding] = diagnose.gradient(LOSS, claim(mistake), AT).findings
        if symmetric:
            assert finding.evidence["asymmetry"] < 1e-9, mistake
        else:
            assert finding.evidence["asymmetry"] > 1e-2, mistake


def test_missing_output_slope_is_the_gradient_of_the_cross_entropy():
    def cross_entropy(*leaves):
        return 2 * program(X, Y, cost="binary")[0](*leaves)

    wrong = claim("no slope output")
    assert diagnose.gradient(cross_entropy, wrong, AT).ok
    [finding] = diagnose.gradient(LOSS, wrong, AT).findings
    assert "twice the mean binary cross-entropy" in finding.message


def test_a_network_told_is_used():
    network = diagnose.Network(X, Y)
    [finding] = diagnose.gradient(LOSS, claim("no slope hidden"), AT, network=network).findings
    assert finding.code == "missing-slope"
    other = diagnose.Network(X + 1, Y)
    findings = diagnose.gradient(LOSS, claim("no slope hidden"), AT, network=other).findings
    assert [f.code for f in findings] == ["other-forward", "unknown-cause"]
    with pytest.raises(ValueError, match="Argument `at` must make up a network"):
        diagnose.gradient(LOSS, RIGHT, AT, network=diagnose.Network(X[:, :1], Y))
    with pytest.raises(ValueError, match="Argument `network` must be"):
        diagnose.gradient(LOSS, RIGHT, AT, network=(X, Y))


def test_single_precision_is_judged_as_such():
    def rounded(gradient):
        return lambda *p: tuple(np.asarray(g, np.float32) for g in gradient(*p))

    at = tuple(a.astype(np.float32) for a in AT)
    assert diagnose.gradient(LOSS, rounded(RIGHT), at).ok
    for mistake in ("slope at activation hidden", "factor 2", "decay"):
        [finding] = diagnose.gradient(LOSS, rounded(claim(mistake)), at).findings
        assert finding.code == CODES[mistake], finding


# XOR with targets (n,), predictions (n, 1): what broadcasting and a flipped sign do.
XOR = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
T = np.array([0.0, 1, 1, 0])


def xor(sigmoid, broadcast_loss, broadcast_gradient, inner=1.0):
    def forward(w1, b1, w2, b2):
        h = sigmoid(XOR @ w1 + b1)
        return h, sigmoid(h @ w2 + b2)

    def loss(w1, b1, w2, b2):
        o = forward(w1, b1, w2, b2)[1]
        return np.mean((o - T) ** 2) if broadcast_loss else np.mean((o[:, 0] - T) ** 2)

    def gradient(w1, b1, w2, b2):
        h, o = forward(w1, b1, w2, b2)
        error = np.mean(o - T, axis=1, keepdims=True) if broadcast_gradient else o - T[:, None]
        delta = inner * 2 * error / 4 * o * (1 - o)
        back = inner * delta @ w2.T * h * (1 - h)
        return XOR.T @ back, back.sum(0), h.T @ delta, delta.sum(0)

    return loss, gradient


def up(z):
    return 1 / (1 + np.exp(-z))


def down(z):
    return 1 / (1 + np.exp(z))


@pytest.mark.parametrize(
    ("case", "codes"),
    [
        ((up, False, False), []),
        ((up, True, False), ["broadcast-targets"]),
        ((up, True, True), ["broadcast-targets"]),
        ((up, False, True), ["broadcast-targets"]),
        ((down, False, False, -1.0), []),  # φ(−z) with the derivative that belongs to it is right
        ((down, False, False), ["flipped-sigmoid"]),
    ],
)
def test_the_forward_pass_comes_first(case, codes):
    loss, gradient = xor(*case)
    assert [f.code for f in diagnose.gradient(loss, gradient, AT).findings] == codes


def test_a_flipped_sign_in_the_loss_is_seen_against_the_network():
    loss, gradient = xor(down, False, False, -1.0)
    found = diagnose.gradient(loss, gradient, AT, network=diagnose.Network(XOR, T)).findings
    assert [f.code for f in found] == ["flipped-sigmoid"]


# Training steps -----------------------------------------------------------------------------------------------------


def descend(gradient, rate=0.3):
    return lambda *p: tuple(a - rate * g for a, g in zip(p, gradient(*p), strict=True))


@pytest.mark.parametrize("learning_rate", [None, 0.3])
def test_a_step_is_examined_by_its_gradient(learning_rate):
    def codes(step):
        return [f.code for f in diagnose.training_step(step, LOSS, AT, learning_rate=learning_rate).findings]

    assert codes(descend(RIGHT)) == []
    assert codes(descend(claim("slope at activation hidden"))) == ["derivative-of-activation"]
    assert codes(descend(claim("sign"))) == ["wrong-sign"]
    # Without a rate a common factor is the rate.
    assert codes(descend(claim("factor 2"))) == ([] if learning_rate is None else ["constant-factor"])


def test_output_weights_updated_before_the_hidden_error_was_formed():
    for rate in (0.3, 0.01):
        early = descend(claim("updated early", rate=rate), rate)
        [finding] = diagnose.training_step(early, LOSS, AT).findings
        assert finding.code == "weights-updated-early"
        assert finding.evidence["rate"] == pytest.approx(rate, rel=1e-4)


def test_a_step_may_remember_and_write_in_place():
    velocity = [np.zeros_like(a) for a in AT]

    def step(*p):
        for v, a, g in zip(velocity, p, RIGHT(*p), strict=True):
            v *= 0.9
            v += g
            a -= 0.1 * v

    diagnosis = diagnose.training_step(step, LOSS, AT)
    assert diagnosis.ok, diagnosis
    assert any("remembers" in note for note in diagnosis.notes)
    assert any("learning rate of the step is 0.1" in note for note in diagnosis.notes)


# Published numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "factor"), [("0.3333", 2.0), ("0.5", 3.0), ("0.6", 4.0), (1 / 3, 2.0)])
def test_a_relative_difference_is_decoded(number, factor):
    [finding] = diagnose.published_number(number).findings
    assert (finding.code, finding.evidence["factor"]) == ("constant-factor", factor)


def test_the_difference_of_a_mistake_is_recognized():
    u, g = (np.concatenate([a.ravel() for a in f(*AT)]) for f in (claim("no slope hidden"), RIGHT))
    number = np.linalg.norm(u - g) / (np.linalg.norm(u) + np.linalg.norm(g))
    [finding] = diagnose.published_number(f"{number:.5f}", loss=LOSS, at=AT).findings
    assert finding.code == "missing-slope"
    assert "hidden" in finding.message


def test_other_published_numbers():
    assert diagnose.published_number("2e-8").ok
    assert diagnose.published_number("1.0").findings[0].code == "wrong-sign"
    assert diagnose.published_number("0.31234").findings[0].code == "unknown-cause"
    for bad in (-0.1, np.nan, "a third"):
        with pytest.raises(ValueError, match="Argument `number` must"):
            diagnose.published_number(bad)
    with pytest.raises(ValueError, match="Argument `at` must be given"):
        diagnose.published_number("0.5", loss=LOSS)
