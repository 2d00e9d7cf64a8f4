import jax
import jax.numpy as jnp
import numpy as np

from jaxnum.cases import adam_rosenbrock
from jaxnum.cases.adam_rosenbrock import Config, gradient, script
from jaxnum.optimize import landscapes

CASE, CONFIG = adam_rosenbrock, Config(map_size=32)  # enough for every statement but the fine edges of the map


def test_what_was_seen_is_reproduced(story, facts):
    np.testing.assert_allclose(facts(story.symptom, "Adam at 0.02", "last x"), 2.00869767, atol=5e-9)
    np.testing.assert_allclose(facts(story.symptom, "Adam at 0.02", "last y"), 4.0361122, atol=5e-8)
    np.testing.assert_allclose(facts(story.symptom, "Adam at 0.02", "last value"), 1.01747, atol=5e-6)
    np.testing.assert_allclose(facts(story.symptom, "momentum 0.9 at 0.01"), 0.00191, atol=5e-6)
    assert np.isnan(facts(story.symptom, "momentum 0.9 at 0.02"))
    np.testing.assert_allclose(facts(story.cure, "Adam at 0.5"), 4.6e-4, atol=5e-6)


def test_the_hand_written_adam_is_adam(story, facts):
    # 1e-15 on coordinates of size 4 is one unit in the last place.
    assert facts(story.diagnosis, "in NumPy against optax.adam") <= 1e-15
    assert facts(story.diagnosis, "as an Optax transformation") <= 1e-15
    rule, comparison = story.diagnoses
    assert rule.ok, rule
    assert [f.code for f in comparison.findings] == ["budget-too-small", "rate-above-limit"]


def test_the_limit_of_momentum(story, facts):
    np.testing.assert_allclose(facts(story.diagnosis, "limit of momentum"), 0.01929, atol=5e-6)
    valley = landscapes.rosenbrock(1.0, 2.0)
    largest = np.linalg.eigvalsh(jax.hessian(valley.fn)(jnp.array([3.0, 3.0])))[-1]
    np.testing.assert_allclose(facts(story.diagnosis, "largest curvature at the start"), largest, rtol=1e-14)


def test_the_budget_is_told_as_it_is(story, facts):
    chapter, path = story.diagnosis, story.arrays["adam"]
    assert facts(chapter, "farthest") == 2.0
    for i, name in enumerate("xy"):
        assert facts(chapter, f"distance from start to minimum in {name}") == 2.0  # from (3, 3) to (1, 1)
        np.testing.assert_allclose(facts(chapter, f"travelled in {name}"), np.abs(np.diff(path[:, i])).sum())
        np.testing.assert_allclose(facts(chapter, f"left to the minimum in {name}"), abs(path[-1, i] - 1))
        assert facts(chapter, f"travelled in {name}") < 2.0
    assert facts(chapter, "longest step") <= 1 + 1e-9
    assert facts(chapter, "without bias correction") > 0.5  # it changes little
    assert facts(chapter, "b2 = 0.9,") < 1e-3 < 0.5 < facts(chapter, "b2 = 0.999")


def test_both_methods_arrive_when_the_rates_fit(story, facts):
    assert facts(story.cure, "Adam at that rate") < 2e-3
    assert facts(story.cure, "momentum at that rate") < 2e-3
    assert facts(story.cure, "runs in the map") == 32**2


def test_gradient_by_hand_is_the_gradient(rng):
    fn = landscapes.rosenbrock(1.0, 2.0).fn
    for point in rng.normal(size=(5, 2)):
        np.testing.assert_allclose(gradient(point), jax.grad(fn)(jnp.asarray(point)), rtol=1e-13)


def test_the_script_follows_its_rule():
    points = script(lambda g, s: (-0.1 * g, s), (3.0, 3.0), 2)
    np.testing.assert_allclose(points[1], np.array([3, 3]) - 0.1 * np.array([148, -24]), rtol=1e-15)


def test_pictures(pictures):
    assert list(pictures) == ["paths", "values", "step-lengths", "fair-values", "map"]
    for name, axes in pictures.items():
        assert axes.get_xlabel(), name
        assert axes.get_ylabel(), name
        assert axes.get_title(loc="left") or axes.get_title(), name
