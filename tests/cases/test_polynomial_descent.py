import jax
import jax.numpy as jnp
import numpy as np

from jaxnum.cases import polynomial_descent
from jaxnum.cases.polynomial_descent import Config, gradient, run, samples, script

CASE, CONFIG = polynomial_descent, Config()


def test_the_data_are_those_of_the_old_generator():
    np.random.seed(0)
    x = 2 - 3 * np.random.normal(0, 1, 20)
    y = x - 2 * x**2 + 0.5 * x**3 + np.random.normal(-3, 3, 20)
    for ours, theirs in zip(samples(), (x, y), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_was_seen_is_reproduced(story):
    last = [story.symptom.facts[f"coefficient {k} after 500 steps"] for k in range(3)]
    # The published digits; the run amplifies rounding 4000 times, which leaves them alone.
    np.testing.assert_allclose(last, [802.60118234, 360.65857329, 12234.00939771], atol=6e-9, rtol=0)
    best = [story.symptom.facts[f"coefficient {k} by least squares"] for k in range(3)]
    np.testing.assert_allclose(best, [-6.11973959, 8.48492679, -1.62853134], atol=6e-9, rtol=0)


def test_the_limit_and_the_feature(story):
    facts = story.diagnosis.facts
    np.testing.assert_allclose(facts["largest curvature λmax"], 201.68570, atol=5e-6)
    np.testing.assert_allclose(facts["critical rate 2/λmax"], 0.00991642, atol=5e-9)
    np.testing.assert_allclose(facts["condition number"], 179.29, atol=5e-3)
    np.testing.assert_allclose(facts["rate above the limit, per cent"], 0.84, atol=5e-3)
    predicted = facts["growth per step along the steepest direction, predicted"]
    np.testing.assert_allclose(facts["growth per step, measured in the run"], predicted, rtol=1e-9)
    [found] = story.diagnoses
    [finding] = found.findings
    assert finding.code == "rate-above-limit"
    assert finding.evidence["parameter"] == "x^2"
    assert finding.evidence["share"] > 0.99
    np.testing.assert_allclose(finding.evidence["limit"], 0.00991642, atol=5e-9)
    assert any("Your gradient is the true one" in note for note in found.notes)


def test_the_overflow_comes_when_it_was_predicted(story):
    x, y = samples()
    features = np.stack([np.ones(20), x, x**2], axis=1)
    step = int(story.diagnosis.facts["step at which the loss would overflow, predicted"])
    path = script(features, y, 0.01, step + 5)
    with np.errstate(all="ignore"):
        losses = np.mean((path[-15:] @ features.T - y) ** 2, axis=1)
    first = len(path) - 15 + int(np.argmax(~np.isfinite(losses)))
    # Twenty squares are summed before the mean is taken: ln 20 / 2 ln 1.01686 is 90 steps, and the largest square
    # alone overflows at most that much earlier than the mean would.
    assert not np.isfinite(losses[-1])
    assert step - 90 <= first <= step + 5


def test_every_cure_is_predicted_and_confirmed(story):
    facts = story.cure.facts
    names = [k.removesuffix(": steps predicted") for k in facts if k.endswith(": steps predicted")]
    assert len(names) == 4
    for name in names:
        predicted, counted = facts[f"{name}: steps predicted"], facts[f"{name}: steps of the run"]
        assert abs(counted - predicted) <= 0.1 * predicted, (name, predicted, counted)
    for code, cure in story.diagnoses[0].findings[0].evidence["cures"].items():
        assert abs(cure["counted"] - cure["predicted"]) <= 0.1 * cure["predicted"], (code, cure)
    steps = [facts[f"{name}: steps predicted"] for name in names]
    assert steps[0] > 500  # the best rate is stable, and no faster than it can be at this condition number
    assert min(steps) == 1  # all curvatures equal: descent arrives at once


def test_the_gradient_by_hand_is_the_gradient(rng):
    x, y = samples()
    features = np.stack([np.ones(20), x, x**2], axis=1)
    for c in rng.normal(size=(5, 3)):
        true = jax.grad(lambda c: jnp.mean((features @ c - y) ** 2))(jnp.asarray(c))
        np.testing.assert_allclose(gradient(c, features, y), true, rtol=1e-12, atol=1e-12)


def test_a_rate_below_the_limit_is_told_as_such():
    story = run(Config(learning_rate=0.009, num_steps=50))
    assert not any(f.code == "rate-above-limit" for d in story.diagnoses for f in d.findings)


def test_pictures(pictures):
    assert list(pictures) == ["fit", "loss", "growth", "cures"]
    for name, axes in pictures.items():
        assert axes.get_xlabel(), name
        assert axes.get_ylabel() or name == "growth"
