# ruff: noqa: ARG005
# Changes of a gradient share a signature, and most need one part of it.
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum import diagnose, optimize

DATA = np.array([1.0, 2.0, 4.0, 5.0])
POINT = np.array([-1.2, 1.0, 0.5])


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def by_hand(x):
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return g


def quadratic(x):
    return np.sum(x**2)


def codes(*args, **options):
    return [f.code for f in diagnose.gradient(*args, **options).findings]


# Planted mistakes -----------------------------------------------------------------------------------------------------

FAULTS = {
    "wrong-sign": lambda x: -by_hand(x),
    "constant-factor": lambda x: by_hand(x) / 2,
    "wrong-components": lambda x: by_hand(x) * [1, 1, 0],
    "wrong-direction": lambda x: np.roll(by_hand(x), 1),
    "zero-gradient": lambda x: 0 * x,
    "weight-decay": lambda x: by_hand(x) + 0.01 * x,
    "constant-offset": lambda x: by_hand(x) + 3.0,
    "gradient-fails": lambda x: x @ np.ones(5),
    "nonfinite-gradient": lambda x: by_hand(x) / 0.0,
    "wrong-shape": lambda x: by_hand(x)[:-1],
    "not-summed": lambda x: np.stack([by_hand(x) / 4] * 4),
    "not-numbers": lambda x: np.array(["a", "b", "c"]),
    "complex-gradient": lambda x: by_hand(x) * 1j,
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("code", FAULTS)
def test_planted_fault_is_named(code):
    [finding] = diagnose.gradient(rosenbrock, FAULTS[code], POINT).findings
    assert finding.code == code, finding


def test_a_factor_is_read_and_its_usual_cause_told():
    [finding] = diagnose.gradient(rosenbrock, FAULTS["constant-factor"], POINT).findings
    assert finding.evidence["scale"] == pytest.approx(0.5, rel=1e-12)
    assert "2 of a derived square" in finding.cure
    [finding] = diagnose.gradient(rosenbrock, lambda x: by_hand(x) * 39, POINT).findings
    assert "a sum over 39" in finding.cure


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g, x: g * [1, x[0], 1], "x[1] has an extra factor x[0]"),
        (lambda g, x: g * [1, 1, 3 / x[1]], "x[2] has an extra factor 3 1/x[1]"),
        (lambda g, x: g * [x[2] ** 2, 1, 1], "x[0] has an extra factor x[2]²"),
        (lambda g, x: g * [1, 2.5, 1], "x[1] is 2.5 times the true one"),
        (lambda g, x: g + np.array([0, 2 * x[1], 0]), "x[1] differs by 2 x[1]"),
        (lambda g, x: g + np.array([0, 0, x[0] * x[1]]), "x[2] differs by 1 x[0] x[1]"),
        (lambda g, x: g + np.array([7.0, 0, 0]), "x[0] differs by a constant, 7"),
        (lambda g, x: g * [1, 1, 0], "x[2] is zero"),
    ],
)
def test_what_stands_between_a_component_and_the_truth(change, words):
    [finding] = diagnose.gradient(rosenbrock, lambda x: change(by_hand(x), x), POINT).findings
    assert finding.code == "wrong-components"
    assert words in finding.message, finding.message
    assert len(finding.evidence["components"]) == 1


def test_components_give_the_first_index_yours_and_true():
    [finding] = diagnose.gradient(rosenbrock, FAULTS["wrong-components"], POINT).findings
    assert finding.evidence["index"] == 2
    assert finding.evidence["yours"] == 0
    assert finding.evidence["true"] == pytest.approx(by_hand(POINT)[2], rel=1e-12)


# Two leaves of unlike shape -------------------------------------------------------------------------------------------

A, B = np.array([[0.3, -0.8], [0.5, 1.1]]), np.array([0.4, -0.6])


def bilinear(a, b):
    return np.sum(np.sin(a @ b) * b) + np.sum(a**3)


def slopes(a, b):
    c = np.cos(a @ b) * b
    return np.outer(c, b) + 3 * a**2, a.T @ c + np.sin(a @ b)


def leaves(change):
    return lambda a, b: change(*slopes(a, b), a, b)


LEAVES = {
    "missing-leaf": leaves(lambda g, h, a, b: (g, 0 * h)),
    "leaf-factor": leaves(lambda g, h, a, b: (4 * g, h)),
    "wrong-sign": leaves(lambda g, h, a, b: (g, -h)),
    "transposed-leaf": leaves(lambda g, h, a, b: (g.T, h)),
    "weight-decay": leaves(lambda g, h, a, b: (g + 0.1 * a, h)),
    "unknown-cause": leaves(lambda g, h, a, b: (np.sinh(g), h)),
}


@pytest.mark.parametrize("code", LEAVES)
def test_the_leaf_is_named(code):
    [finding] = diagnose.gradient(bilinear, LEAVES[code], (A, B)).findings
    assert finding.code == code, finding
    assert finding.evidence["wrong_leaves"] == ["b" if code in ("missing-leaf", "wrong-sign") else "a"]


def test_leaves_in_another_order_are_named():
    def loss(a, b):
        return np.sum(a**2) + np.sum(np.sin(b)) + a[0] * b[1]

    def gradient(a, b):
        return np.cos(b) + np.array([0, a[0]]), 2 * a + np.array([b[1], 0])

    assert codes(loss, gradient, (B, B + 1)) == ["permuted-leaves"]


def test_a_penalty_that_the_gradient_forgets():
    [finding] = diagnose.gradient(lambda a, b: bilinear(a, b) + 0.05 * np.sum(a**2), slopes, (A, B)).findings
    assert finding.code == "missing-penalty"
    assert "λ = 0.1" in finding.message


# Calls that remember --------------------------------------------------------------------------------------------------


def test_accumulation_is_found_and_what_each_call_adds_is_judged():
    stored = np.zeros(3)

    def gradient(x):
        stored[:] += 2 * by_hand(x)
        return stored.copy()

    found = codes(rosenbrock, gradient, POINT)
    assert found == ["accumulates", "constant-factor"]


def test_velocity_noise_and_writing_are_found(rng):
    velocity = np.zeros(3)

    def remembers(x):
        velocity[:] = 0.9 * velocity + by_hand(x)
        return velocity.copy()

    [finding] = diagnose.gradient(rosenbrock, remembers, POINT).findings
    assert finding.code == "remembers"
    assert finding.evidence["momentum"] == pytest.approx(0.9)
    assert codes(rosenbrock, lambda x: by_hand(x) + rng.normal(size=3), POINT) == ["not-repeatable"]

    def writes(x):
        g = by_hand(x)
        x -= 0.1 * g
        return g

    assert codes(rosenbrock, writes, POINT) == ["changes-parameters"]


# Silence --------------------------------------------------------------------------------------------------------------


class Cached:
    """Backward uses what forward left behind, as frameworks in classes do."""

    def loss(self, p):
        self.h = np.tanh(DATA[:, None] * p["w"] + p["b"])
        self.error = self.h @ p["v"] - DATA
        return float(np.mean(self.error**2))

    def gradient(self, p):
        back = np.outer(self.error, p["v"]) * (1 - self.h**2) / 2
        return {"dw": DATA @ back, "db": back.sum(0), "dv": self.h.T @ self.error / 2}


def matrix_loss(w):
    e = np.matrix(np.vander(DATA, 2)) * np.matrix(w) - np.matrix(DATA**2).T
    return float((e.T * e)[0, 0])


def matrix_gradient(w):
    x = np.matrix(np.vander(DATA, 2))
    return 2 * x.T * (x * np.matrix(w) - np.matrix(DATA**2).T)


def loop_loss(a, b):
    total = 0.0
    for x in DATA:
        total += (math.exp(a * x) + b - x) ** 2
    return total / len(DATA)


def loop_gradient(a, b):
    da = db = 0.0
    for x in DATA:
        error = math.exp(a * x) + b - x
        da, db = da + 2 * error * x * math.exp(a * x) / len(DATA), db + 2 * error / len(DATA)
    return da, db


def central(x, h=1e-5):
    return np.array([(rosenbrock(x + h * e) - rosenbrock(x - h * e)) / (2 * h) for e in np.eye(x.size)])


def jax_loss(p):
    return jnp.mean((jnp.tanh(jnp.asarray(DATA)[:, None] * p[0]["w"][None]) @ p[1] - jnp.asarray(DATA)) ** 2)


cached = Cached()
SMALL = {"w": np.array([0.1, -0.2, 0.3]), "b": np.zeros(3), "v": np.array([0.5, 0.1, -0.4])}
LAYERS = [{"w": jnp.array([0.1, -0.2])}, jnp.array([0.3, 0.4])]

CORRECT = {
    "scipy style": (rosenbrock, by_hand, POINT),
    "a list of numbers": (rosenbrock, by_hand, [1.3, 0.7, 0.8]),
    "at the minimum": (rosenbrock, by_hand, np.ones(3)),
    "at zero": (quadratic, lambda x: 2 * x, np.zeros(4)),
    "class with a cache and a dict": (cached.loss, cached.gradient, SMALL),
    "np.matrix": (matrix_loss, matrix_gradient, np.array([[0.3], [0.2]])),
    "loops over math": (loop_loss, loop_gradient, (0.1, 0.2)),
    "flat vector": (bilinear, lambda a, b: np.concatenate([g.ravel() for g in slopes(a, b)]), (A, B)),
    "loss and gradient": (bilinear, lambda a, b: (bilinear(a, b), slopes(a, b)), (A, B)),
    "rows for vectors": (bilinear, lambda a, b: (slopes(a, b)[0], slopes(a, b)[1][None]), (A, B)),
    "one tuple": (lambda p: bilinear(*p), lambda p: slopes(*p), (A, B)),
    "central differences": (rosenbrock, central, POINT),
    "another form of the same": (lambda x: np.exp(np.log(x @ x)), lambda x: x + x, np.array([0.3, 0.7])),
    "kinks": (lambda x: np.sum(np.abs(x)), np.sign, np.array([0.3, -0.7])),
    "a narrow domain": (lambda x: np.sum(np.log(x)), lambda x: 1 / x, np.array([0.3, 1e-3])),
    "tiny units": (lambda x: np.sum((x * 1e9) ** 2), lambda x: 2e18 * x, np.array([3e-9, 1e-9])),
    "a leaf that does nothing": (lambda a, b: np.sum(a**2) + 0 * np.sum(b), lambda a, b: (2 * a, 0 * b), (A, B)),
    "writes in place": (
        lambda x: (lambda y: [y.__setitem__(0, y[0] ** 2), np.sum(y)][1])(x.copy()),
        lambda x: np.array([2 * x[0], 1.0]),
        np.array([0.3, 0.7]),
    ),
    "jax, layers": (jax_loss, jax.grad(jax_loss), LAYERS),
    "jax, value and gradient": (jax_loss, jax.value_and_grad(jax_loss), LAYERS),
    "a landscape": (lambda x: optimize.landscapes.rosenbrock().fn(x), lambda x: by_hand(x), np.array([0.4, 0.9])),
}


@pytest.mark.parametrize("name", CORRECT)
def test_silent_on_correct_code(name):
    diagnosis = diagnose.gradient(*CORRECT[name])
    assert diagnosis.ok, diagnosis


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_precisions(dtype):
    at = jnp.asarray(POINT, dtype)

    def loss(x):
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    def narrow(x):
        return jax.grad(loss)(x).astype(dtype)

    assert diagnose.gradient(loss, narrow, at).ok
    assert codes(loss, lambda x: 3 * narrow(x), at) == ["constant-factor"]


# Doubt ----------------------------------------------------------------------------------------------------------------


def test_doubts_its_own_truth(rng):
    assert codes(lambda x: np.round(np.sum(x**2), 2), lambda x: 2 * x, np.array([0.3, 0.7])) == ["inconclusive"]
    assert codes(lambda x: np.sum(x**2) + rng.normal(), lambda x: 2 * x, np.array([0.3, 0.7])) == ["inconclusive"]


def test_says_which_truth_was_used():
    notes = diagnose.gradient(rosenbrock, by_hand, POINT).notes
    assert "autodiff" in notes[0]
    notes = diagnose.gradient(*CORRECT["np.matrix"]).notes
    assert "differences" in notes[0] or "complex step" in notes[0]
    assert "np.matrix" in notes[0]


# The report -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["constant-factor", "wrong-components", "weight-decay"])
def test_the_number_can_be_reproduced(code, capsys):
    finding = diagnose.gradient(rosenbrock, FAULTS[code], POINT).findings[0]
    exec(finding.reproduce, {"rosenbrock": rosenbrock, "claimed_gradient": FAULTS[code], "at": POINT})
    printed = [float(word) for word in capsys.readouterr().out.split()]
    key = {"constant-factor": ["scale"], "wrong-components": ["yours", "true"]}.get(code, ["relative_difference"])
    np.testing.assert_allclose(printed, [finding.evidence[k] for k in key], rtol=1e-9)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_several_parameters_and_no_autodiff_can_be_reproduced_too(capsys):
    finding = diagnose.gradient(bilinear, LEAVES["leaf-factor"], (A, B)).findings[0]
    exec(finding.reproduce, {"bilinear": bilinear, "claimed_gradient": LEAVES["leaf-factor"], "at": (A, B)})
    assert float(capsys.readouterr().out) == pytest.approx(finding.evidence["relative_difference"], rel=1e-9)
    at = np.array([[0.3], [0.2]])
    finding = diagnose.gradient(matrix_loss, lambda w: matrix_gradient(w) / 2, at).findings[0]
    assert finding.code == "constant-factor"
    exec(
        finding.reproduce, {"matrix_loss": matrix_loss, "claimed_gradient": lambda w: matrix_gradient(w) / 2, "at": at}
    )
    assert float(capsys.readouterr().out) == pytest.approx(0.5, rel=1e-6)


def test_it_can_be_written_as_json():
    for fault in ("wrong-direction", "weight-decay", "gradient-fails"):
        diagnosis = diagnose.gradient(rosenbrock, FAULTS[fault], POINT)
        assert json.loads(diagnosis.to_json())["findings"][0]["code"] == fault
        assert fault in str(diagnosis)


# Steps ----------------------------------------------------------------------------------------------------------------


def test_a_step_that_uses_new_values_too_early():
    def step(a, b):
        a = a - 0.1 * slopes(a, b)[0]
        return a, b - 0.1 * slopes(a, b)[1]

    [finding] = diagnose.training_step(step, bilinear, (A, B)).findings
    assert finding.code == "weights-updated-early"
    assert "a before the gradient of b" in finding.message

    def right(a, b):
        g, h = slopes(a, b)
        return a - 0.1 * g, b - 0.1 * h

    assert diagnose.training_step(right, bilinear, (A, B), learning_rate=0.1).ok


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((3.0, by_hand, POINT), "loss"),
        ((rosenbrock, None, POINT), "claimed_gradient"),
        ((lambda x: x, by_hand, POINT), "loss"),
        ((lambda x: "high", by_hand, POINT), "loss"),
        ((lambda x: x[0] * 1j, by_hand, POINT), "loss"),
        ((rosenbrock, by_hand, np.array([1.0, np.nan])), "at"),
        ((rosenbrock, by_hand, np.array([])), "at"),
        ((rosenbrock, by_hand, np.array(["a"])), "at"),
        ((rosenbrock, by_hand, np.array([1, 2])), "at"),
        ((rosenbrock, by_hand, np.array([1j, 2])), "loss"),
        ((rosenbrock, by_hand, {}), "at"),
        ((bilinear, slopes, A), "loss"),
        ((lambda x: np.inf * np.sum(x), by_hand, POINT), "at"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nonsense_is_refused_in_one_line(arguments, name):
    with pytest.raises(ValueError, match=f"Argument `{name}") as refusal:
        diagnose.gradient(*arguments)
    assert "\n" not in str(refusal.value)


def test_points_of_the_user_are_used_and_checked():
    def wrong_far_away(x):
        return by_hand(x) * (2 if x[0] > 50 else 1)

    assert codes(rosenbrock, wrong_far_away, POINT) == []
    assert codes(rosenbrock, wrong_far_away, POINT, points=[POINT + 100]) != []
    with pytest.raises(ValueError, match=r"Argument `points\[0\]` must have the shapes"):
        diagnose.gradient(rosenbrock, by_hand, POINT, points=[np.ones(4)])


# Complex parameters ---------------------------------------------------------------------------------------------------

MIX = np.random.default_rng(3).normal(size=(5, 3)) + 1j * np.random.default_rng(4).normal(size=(5, 3))
SEEN = np.random.default_rng(5).normal(size=5) + 0.5j
COMPLEX = np.array([0.3 - 0.2j, 1.1 + 0.4j, -0.6 + 0.9j])


def misfit(z):
    return np.sum(np.abs(MIX @ z - SEEN) ** 2)


def ascent(z):
    return 2 * MIX.conj().T @ (MIX @ z - SEEN)


def test_both_conventions_of_a_complex_gradient_are_right_and_said():
    found = diagnose.gradient(misfit, ascent, COMPLEX)
    assert found.ok, found
    assert "subtracted to descend" in found.notes[0]
    for conjugated in (lambda z: ascent(z).conj(), jax.grad(lambda z: jnp.sum(jnp.abs(MIX @ z - SEEN) ** 2))):
        found = diagnose.gradient(misfit, conjugated, COMPLEX)
        assert found.ok, found
        assert "jax.grad" in found.notes[0]


def test_a_conjugated_gradient_is_named_where_the_convention_is_told():
    for claim, conjugate in ((lambda z: ascent(z).conj(), False), (ascent, True)):
        [finding] = diagnose.gradient(misfit, claim, COMPLEX, conjugate=conjugate).findings
        assert finding.code == "conjugated-gradient"
    assert diagnose.gradient(misfit, lambda z: ascent(z).conj(), COMPLEX, conjugate=True).ok


def test_mistakes_in_complex_gradients_are_named():
    # ∂L/∂z̄ is half of the steepest ascent, in either convention.
    for claim in (lambda z: ascent(z) / 2, lambda z: ascent(z).conj() / 2):
        [finding] = diagnose.gradient(misfit, claim, COMPLEX).findings
        assert finding.code == "constant-factor"
        assert finding.evidence["scale"] == pytest.approx(0.5, rel=1e-9)
    found = diagnose.gradient(misfit, lambda z: 2 * MIX.T @ (MIX @ z - SEEN), COMPLEX)
    assert found.findings[0].code in ("wrong-direction", "wrong-components"), found


def test_real_and_complex_parameters_together():
    def loss(w, z):
        return np.sum(np.abs(w * (MIX @ z) - SEEN) ** 2)

    def claim(w, z):
        rest = w * (MIX @ z) - SEEN
        return np.sum(np.real(np.conj(MIX @ z) * rest)), 2 * w * MIX.conj().T @ rest

    [finding] = diagnose.gradient(loss, claim, (0.7, COMPLEX)).findings
    assert (finding.code, finding.evidence["factors"]) == ("leaf-factor", {"w": pytest.approx(0.5)})
