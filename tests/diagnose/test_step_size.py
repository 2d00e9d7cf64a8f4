import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnum import diagnose
from jaxnum.diagnose.step_sizes.response import of_family, overflow_step, realize, steps_needed
from jaxnum.diagnose.step_sizes.understanding import understand
from jaxnum.optimize import AveragedMomentum, Momentum, Nesterov, Sgd, landscapes

# A quadratic whose curvatures are 1, 3 and 10, along directions that are no coordinates.
ANGLES = np.linalg.qr(np.cos(1.0 + np.arange(9.0)).reshape(3, 3))[0]
HESSIAN = (ANGLES * np.array([1.0, 3.0, 10.0])) @ ANGLES.T
START = np.array([1.0, -0.5, 0.3])


def bowl(w):
    return 0.5 * w @ (HESSIAN @ w) + 2.0


def slope(w):
    return HESSIAN @ w


def codes(found):
    return [f.code for f in found.findings]


def averaged(rate, beta=0.9):
    return optax.chain(optax.ema(beta, debias=False), optax.scale(-rate))


# Limits for λ = 10 are the closed forms evaluated by hand: 2/λ, 2(1+β)/λ, 2(1+β)/((1+2β)λ), 2(1+β)/((1−β)λ).
METHODS = {
    "a rate": (lambda rate: rate, 0.2),
    "a family": (lambda rate: (Momentum(0.5), rate), 0.3),
    "optax.sgd": (lambda rate: optax.sgd(rate), 0.2),
    "optax momentum": (lambda rate: optax.sgd(rate, momentum=0.9), 0.38),
    "optax nesterov": (lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True), 0.1357142857142857),
    "optax ema": (averaged, 3.8),
    "a function": (lambda rate: lambda g, s: (-rate * g, s), 0.2),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_rate_above_the_limit_is_named_and_one_below_is_not(name):
    make, limit = METHODS[name]
    found = diagnose.step_size(bowl, START, make(1.001 * limit))
    assert codes(found) == ["rate-above-limit"], found
    # Six digits were promised; Lanczos in three dimensions is exact to rounding.
    np.testing.assert_allclose(found.findings[0].evidence["limit"], limit, rtol=1e-10)
    np.testing.assert_allclose(found.findings[0].evidence["largest_curvature"], 10, rtol=1e-12)
    assert diagnose.step_size(bowl, START, make(0.999 * limit)).ok


def test_the_direction_is_the_eigenvector():
    evidence = diagnose.step_size(bowl, START, 0.21).findings[0].evidence
    shares = ANGLES[:, 2] ** 2
    assert evidence["parameter"] == f"parameter[{np.argmax(shares)}]"
    np.testing.assert_allclose(evidence["share"], shares.max(), rtol=1e-12)


def test_growth_and_overflow_are_those_of_the_run():
    evidence = diagnose.step_size(bowl, START, 0.23).findings[0].evidence
    np.testing.assert_allclose(evidence["growth_per_step"], abs(1 - 0.23 * 10), rtol=1e-12)
    w, steps = START, 0
    with np.errstate(all="ignore"):
        while np.isfinite(bowl(w)):
            w, steps = w - 0.23 * slope(w), steps + 1
    # Terms of the sum overflow up to one step before their sum would.
    assert abs(evidence["overflow_step"] - steps) <= 1, (evidence["overflow_step"], steps)


def test_single_precision_overflows_sooner():
    steps = [
        diagnose.step_size(bowl, START.astype(dtype), 0.23).findings[0].evidence["overflow_step"]
        for dtype in (np.float32, np.float64)
    ]
    # The exponents reach 2^128 and 2^1024, and the loss grows by 1.3² per step.
    np.testing.assert_allclose(steps[1] - steps[0], 896 * np.log(2) / np.log(1.3**2), atol=1.5)


def test_cures_are_predicted_and_confirmed():
    found = diagnose.step_size(bowl, START, 0.21)
    cures = found.findings[0].evidence["cures"]
    np.testing.assert_allclose(cures["rate"]["rate"], 2 / 11, rtol=1e-10)
    assert set(cures) >= {"rate", "momentum"}
    for name, cure in cures.items():
        assert abs(cure["counted"] / cure["predicted"] - 1) <= 0.1, (name, cure)
    # Counted once more, without the package.
    w, steps = START, 0
    while bowl(w) - 2.0 > 1e-6 * (bowl(START) - 2.0):
        w, steps = w - 2 / 11 * slope(w), steps + 1
    assert cures["rate"]["counted"] == steps


def test_features_give_names_and_two_more_cures():
    x = np.linspace(0.0, 10.0, 50)
    columns = {"1": np.ones(50), "x": x, "x^2": x**2}
    matrix = np.stack(list(columns.values()), axis=1)
    found = diagnose.step_size(lambda c: np.mean((matrix @ c - np.sin(x)) ** 2), np.zeros(3), 1e-3, features=columns)
    evidence = found.findings[0].evidence
    # Published for this very design: critical rate 4.8e-4, condition 2.0e4; standardized 60; orthogonal 1.
    assert round(evidence["limit"], 5) == 4.8e-4
    assert evidence["parameter"] == "x^2"
    table = {row[0]: row[2] for row in found.tables[-1].rows}
    assert f"{table['what was given']:.1e}" == "2.0e+04"
    assert round(table["standardized features"]) == 60
    np.testing.assert_allclose(table["an orthogonal basis"], 1, rtol=1e-9)
    for name, cure in evidence["cures"].items():
        assert abs(cure["counted"] - cure["predicted"]) <= max(1, 0.1 * cure["predicted"]), (name, cure)
    as_array = diagnose.step_size(lambda c: np.mean((matrix @ c - 1.0) ** 2), np.zeros(3), 1e-3, features=matrix)
    assert as_array.findings[0].evidence["parameter"] == "feature 2"


def test_linear_regression_that_blows_up_for_larger_x():
    limits = []
    for end in (1.0, 100.0):
        x = np.linspace(0.0, end, 100)
        found = diagnose.step_size(lambda w, x=x: np.mean((w[0] + w[1] * x - x) ** 2), np.zeros(2), 0.01)
        limits.append(found.tables[0].rows[0][4])
        assert codes(found) == ([] if end == 1.0 else ["rate-above-limit"]), found
    assert [f"{v:.3g}" for v in limits] == ["0.789", "0.000298"]


# Rosenbrock's valley: curvatures at the minimum are 0.399361 and 1001.600640, so the limit is 1.9968e-3. A run at
# 2.0e-3 passes below 1e-8 and leaves again for a cycle at about 1.25e-3; at 2.01e-3 it never gets below 1e-7.
@pytest.mark.parametrize(
    ("rate", "low", "lowest"), [(1.99e-3, None, None), (2.0e-3, 0, 1e-8), (2.01e-3, 1e-7, 1e-5), (2.1e-3, 1e-4, 1e-2)]
)
def test_transit_through_the_minimum_is_not_convergence(rate, low, lowest):
    valley = landscapes.rosenbrock()
    found = diagnose.step_size(valley.fn, valley.y0, rate)
    if low is None:
        assert found.ok, found
        return
    assert codes(found) == ["rate-above-limit"], found
    evidence = found.findings[0].evidence
    np.testing.assert_allclose(evidence["limit"], 2 / (501 + np.sqrt(301**2 + 400**2)), rtol=1e-9)
    np.testing.assert_allclose(evidence["smallest_curvature"], 0.399361, atol=5e-7)
    assert low <= evidence["lowest_loss"] <= lowest
    if rate == 2.0e-3:
        # The two points of the cycle lie on both sides of the published value, which has three digits.
        np.testing.assert_allclose(evidence["last_loss"], 1.25e-3, atol=1e-5)
        assert "does not stay" in found.findings[0].message


def test_a_run_that_leaves_its_steep_start_is_no_fault():
    # The start has λmax = 197.8, so the limit there is 0.0101; below it the valley is ten times flatter.
    valley = landscapes.rosenbrock(1.0, 2.0)
    found = diagnose.step_size(valley.fn, jnp.array([3.0, 3.0]), 0.012)
    assert found.ok, found
    assert any("above the limit at the start" in note for note in found.notes)


def test_the_wrong_gradient_is_to_blame_and_not_the_step():
    for wrong in (lambda w: -slope(w), lambda w: 0 * w):
        found = diagnose.step_size(bowl, START, 1e-6, gradient=wrong)
        assert codes(found) == ["wrong-gradient"], found
        assert "however small" in found.findings[0].message
    partly = diagnose.step_size(bowl, START, 1e-6, gradient=lambda w: slope(w) * np.array([1.0, 1.0, 0.9]))
    assert codes(partly) == ["wrong-gradient"]
    assert "small enough step" in partly.findings[0].message


def test_a_gradient_of_the_wrong_length_moves_the_limit():
    found = diagnose.step_size(bowl, START, 0.015, gradient=lambda w: 20 * slope(w))
    assert codes(found) == ["rate-above-limit"]
    np.testing.assert_allclose(found.findings[0].evidence["limit"], 0.2 / 20, rtol=1e-9)
    assert diagnose.step_size(bowl, START, 0.009, gradient=lambda w: 20 * slope(w)).ok
    assert diagnose.step_size(bowl, START, 0.1, gradient=slope).ok


def test_budgets():
    slow = diagnose.step_size(bowl, START, 1e-3, num_steps=100)
    assert codes(slow) == ["rate-too-small"], slow
    np.testing.assert_allclose(slow.findings[0].evidence["best_rate"], 2 / 11, rtol=1e-9)
    assert codes(diagnose.step_size(bowl, START, 1e-5)) == ["rate-too-small"]  # hopeless, whatever the budget
    assert diagnose.step_size(bowl, START, 0.1, num_steps=100).ok
    assert diagnose.step_size(bowl, START, 0.05).ok
    steep = np.array([1.0, 1e5])
    stiff = diagnose.step_size(lambda w: 0.5 * np.sum(steep * w**2), np.ones(2) / steep**0.5, 1.9e-5, num_steps=1000)
    assert codes(stiff) == ["ill-conditioned"], stiff
    np.testing.assert_allclose(stiff.findings[0].evidence["condition"], 1e5, rtol=1e-9)


def test_adam_with_too_few_steps_and_with_enough():
    valley = landscapes.rosenbrock(1.0, 2.0)
    start = jnp.array([3.0, 3.0])
    short = diagnose.step_size(valley.fn, start, optax.adam(0.015), num_steps=100)
    assert codes(short) == ["budget-too-small"], short
    np.testing.assert_allclose(short.findings[0].evidence["reach"], 1.5)
    np.testing.assert_allclose(short.findings[0].evidence["distance"], 2.0, rtol=1e-6)
    assert any("38/rate" in note for note in short.notes)
    assert diagnose.step_size(valley.fn, start, optax.adam(0.5), num_steps=100).ok


def test_a_rule_that_divides_by_its_gradients_hovers_at_its_limit():
    # Two points at ±η/2 in every coordinate: RMSprop's own v keeps λ/√v at 2/η, and ½ Σ λ (η/2)² of the loss is left.
    loss = lambda w: 0.5 * (w[0] ** 2 + 10 * w[1] ** 2)  # noqa: E731
    [finding] = diagnose.step_size(loss, np.ones(2), optax.rmsprop(0.5), num_steps=200).findings
    assert finding.code == "rate-above-limit"
    np.testing.assert_allclose(finding.evidence["limit"], 0.5, rtol=1e-3)
    np.testing.assert_allclose(finding.evidence["left"], 0.25**2, rtol=1e-3)
    assert finding.evidence["left_at_a_tenth"] < 0.02 * finding.evidence["left"]
    quiet = diagnose.step_size(loss, np.ones(2), optax.rmsprop(0.05), num_steps=200)
    assert quiet.ok, quiet
    assert any("frozen" in table.title for table in quiet.tables)


def test_steps_that_lead_uphill():
    assert codes(diagnose.step_size(bowl, START, optax.scale(0.01))) == ["wrong-sign"]


@pytest.mark.parametrize(("name", "loss"), [("plane", lambda w: np.sum(w)), ("dome", lambda w: -np.sum(w**2))])
def test_a_loss_without_a_minimum(name, loss):
    assert codes(diagnose.step_size(loss, START, 0.01)) == ["unbounded-below"], name


def test_a_schedule_is_judged_by_its_run():
    fading = optax.sgd(optax.exponential_decay(0.3, 10, 0.5))
    assert diagnose.step_size(bowl, START, fading, num_steps=200).ok
    rising = optax.sgd(optax.linear_schedule(0.0, 0.5, 200))
    assert codes(diagnose.step_size(bowl, START, rising, num_steps=200)) == ["rate-above-limit"]


def test_clipping_hides_the_blow_up_and_not_the_limit():
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.3))
    found = diagnose.step_size(bowl, START, clipped)
    assert codes(found) == ["rate-above-limit"]
    assert "clipped" in found.findings[0].message


def test_a_loss_that_cannot_be_retold_is_differenced():
    def in_place(w):
        parts = np.zeros(2)
        for i in range(2):
            parts[i] = (i + 1) * w[i] ** 2
        return parts.sum()

    found = diagnose.step_size(in_place, np.ones(2), 0.51)
    assert codes(found) == ["rate-above-limit"], found
    np.testing.assert_allclose(found.findings[0].evidence["limit"], 0.5, rtol=1e-6)
    assert any("in place" in note for note in found.notes)


def test_a_loss_that_moves_in_jumps_is_doubted():
    assert codes(diagnose.step_size(lambda w: np.round(bowl(w), 1), START, 0.1)) == ["inconclusive"]


def test_parameters_of_any_structure_are_named():
    found = diagnose.step_size(lambda a, b: (a - 1) ** 2 + 10 * (b @ b), (3.0, np.ones(2)), 0.11)
    assert found.findings[0].evidence["parameter"] in ("b[0]", "b[1]")
    named = diagnose.step_size(lambda p: p["u"] ** 2 + 5 * p["v"] ** 2, {"u": 1.0, "v": 1.0}, 0.3)
    assert named.findings[0].evidence["parameter"] == "v"


def test_many_parameters():
    curvatures = jnp.linspace(1.0, 40.0, 400) + jnp.where(jnp.arange(400) == 7, 60.0, 0.0)
    found = diagnose.step_size(lambda w: 0.5 * jnp.sum(curvatures * w**2), np.ones(400), 0.034)
    largest = 61 + 39 * 7 / 399
    np.testing.assert_allclose(found.findings[0].evidence["limit"], 2 / largest, rtol=1e-6)
    assert found.findings[0].evidence["parameter"] == "parameter[7]"


def test_the_lines_that_reproduce_the_limit_do():
    finding = diagnose.step_size(bowl, START, 0.21).findings[0]
    printed = []
    exec(finding.reproduce, {"bowl": bowl, "params": START, "print": printed.append})
    np.testing.assert_allclose(printed[0], finding.evidence["limit"], rtol=1e-9)


# The response of a rule ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [Sgd(), Momentum(0.7), Nesterov(0.7), AveragedMomentum(0.7)])
def test_a_family_is_recognized_by_its_steps(family):
    response = of_family(family, 0.3)
    steps, state = [], np.zeros(len(response.intake))
    for n in range(24):
        steps.append(response.release @ state + response.direct * (n == 0))
        state = response.memory @ state + response.intake * (n == 0)
    found = realize(steps, averages=isinstance(family, AveragedMomentum))
    assert type(found.family) is type(family)
    np.testing.assert_allclose(found.rate, 0.3, rtol=1e-9)
    curvatures = np.array([0.5, 2.0, 7.0])
    np.testing.assert_allclose(found.growth(curvatures), response.growth(curvatures), rtol=1e-9)


def test_a_chain_of_two_momenta_has_the_limit_of_its_characteristic_polynomial():
    # (z − 1)(z − ½)² + hz² is (z − ¼)(z² − z + 1) at h = ¾: there a pair of roots meets the unit circle.
    rule = understand("it", optax.chain(optax.trace(0.5), optax.trace(0.5), optax.scale(-0.05)), 10)
    np.testing.assert_allclose(0.05 * rule.response.critical, 0.75, rtol=1e-9)


def test_long_ways_are_counted_as_short_ones_are():
    response = of_family(Sgd(), 1e-4)
    # (1 − 1e-4)^(2k) ≤ 1e-6
    wanted = np.ceil(np.log(1e-6) / (2 * np.log1p(-1e-4)))
    assert steps_needed(response, [1.0], [1.0], 1e-6) == wanted
    assert steps_needed(response, [3e4], [1.0], 1e-6) == np.inf
    assert overflow_step(response, 1.0, 1.0, 1e300) == np.inf


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: diagnose.step_size(bowl, START, 0.0), "`optimizer_or_rate` must be a finite positive"),
        (lambda: diagnose.step_size(bowl, START, np.nan), "`optimizer_or_rate` must be"),
        (lambda: diagnose.step_size(bowl, START, "sgd"), "`optimizer_or_rate` must be"),
        (lambda: diagnose.step_size(bowl, START, (Momentum(0.9), -1.0)), "`optimizer_or_rate[1]` must be"),
        (lambda: diagnose.step_size(bowl, np.array([np.nan, 0, 0]), 0.1), "`params` must be finite"),
        (lambda: diagnose.step_size(lambda w: w, START, 0.1), "`loss` must return one real number"),
        (lambda: diagnose.step_size(lambda w: np.log(w[1]), START, 0.1), "`loss` must be finite at `params`"),
        (lambda: diagnose.step_size(bowl, START, 0.1, num_steps=0), "`num_steps` must be"),
        (lambda: diagnose.step_size(bowl, START, 0.1, features=np.ones((5, 2))), "`features` must have shape"),
        (lambda: diagnose.step_size(bowl, START, 0.1, gradient=lambda w: w[:2]), "`gradient` must return 3"),
        (lambda: diagnose.step_size(bowl, START, optax.adam), "must"),
    ],
)
def test_bad_arguments_are_named(call, says):
    with pytest.raises(ValueError, match="Argument") as error:
        call()
    assert says in str(error.value), error.value
    assert "\n" not in str(error.value)


def test_the_session_is_left_as_it_was():
    assert jax.config.jax_numpy_dtype_promotion == "strict"
    diagnose.step_size(bowl, START, 0.1)
    assert jax.config.jax_numpy_dtype_promotion == "strict"
