import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum import diagnose
from jaxnum.jupiter import JUPITER, Dipole, GaussianWindow, SmoothRamp, naive_iteration, naive_pass
from jaxnum.numerics.fixed_point import Spectrum, arnoldi, describe_mode, largest_relaxation

LAW = SmoothRamp()


def codes(diagnosis):
    return [finding.code for finding in diagnosis.findings]


def magnetosphere(n, smoothing=None):
    x = np.linspace(5.0, 100.0, n)
    start = naive_iteration(JUPITER, Dipole(), LAW, num_points=60, num_passes=4).value
    sigma = np.interp(x, np.linspace(5.0, 100.0, 60), start)

    def update(sigma):
        return naive_pass(sigma, x, JUPITER, Dipole(), LAW, smoothing=smoothing)[0]

    return jax.jit(update), sigma


def heat(n, dt=2e-5):
    h = 1 / (n - 1)

    def update(t):  # the asker's kind of code: in place, so no JAX
        t = t.copy()
        t[1:-1] += dt / h**2 * (t[2:] - 2 * t[1:-1] + t[:-2])
        return t

    return update, np.sin(np.pi * np.linspace(0, 1, n))


def test_magnetosphere_loop_is_unstable_and_unbounded():
    n = 200
    found = diagnose.fixed_point(*magnetosphere(n), spacing=95 / (n - 1), relaxation=0.5, refine=magnetosphere)
    assert codes(found) == ["unstable-iteration", "unbounded-map"], str(found)
    evidence = found.findings[0].evidence
    # ℓ is 20.75 R at most at the solution; Newton finds it, and the gain is ℓ/h within six per cent.
    assert_allclose(evidence["spectral_radius"], 20.75 / (95 / (n - 1)), rtol=0.06)
    assert_allclose(evidence["growth_per_pass"], evidence["spectral_radius"] / 2, rtol=0.01)
    assert_allclose(evidence["wavelength_cells"], 4.0, rtol=0.03)
    assert_allclose(5 + evidence["place"], 44.1, atol=3.0)
    assert_allclose(evidence["largest_relaxation"], 2 / (1 + evidence["spectral_radius"] ** 2), rtol=0.2)
    assert_allclose(found.findings[1].evidence["exponent"], 1.0, atol=0.1)
    assert "central differences" in found.findings[0].message
    assert "Newton" in found.findings[0].cure


def test_arnoldi_sees_the_same_on_a_large_grid_and_the_filter_does_not_help():
    n = 4000
    update, sigma = magnetosphere(n)
    filtered, _ = magnetosphere(n, GaussianWindow(64, 10.0))
    found = diagnose.fixed_point(filtered, sigma, relaxation=0.5, unsmoothed=update, num_passes=5)
    assert codes(found) == ["unstable-iteration", "smoothing-does-not-help"], str(found)
    evidence = found.findings[1].evidence
    # sup k exp(-k²σ²/2) = 0.607/σ against 1/h: a filter of 10 samples divides the gain by 10/0.607.
    assert_allclose(evidence["growth_without_filter"] / evidence["growth_with_filter"], 10 / 0.607, rtol=0.1)
    assert found.findings[0].evidence["wavelength_cells"] > 30


def test_filter_that_hides_is_told():
    n = 64
    k = 2 * np.pi * np.fft.rfftfreq(n)

    def update(x, width=4.0):
        return np.fft.irfft(np.exp(-0.5 * (k * width) ** 2) * 3j * np.sin(k) * np.fft.rfft(x), n)

    found = diagnose.fixed_point(update, np.cos(np.arange(n) / 5.0), unsmoothed=lambda x: update(x, 0.0))
    assert codes(found) == ["smoothing-hides-instability"]
    assert_allclose(found.findings[0].evidence["growth_without_filter"], 3.0, rtol=1e-3)


def test_explicit_heat_step_past_its_limit():
    # dt/h² = 0.2 on 101 points is stable; 0.8 on 201 is not, with multiplier 1 - 4 · 0.8 = -2.2 for the sawtooth.
    stable = diagnose.fixed_point(*heat(101))
    assert stable.ok, str(stable)
    found = diagnose.fixed_point(*heat(201), refine=heat)
    assert codes(found) == ["unstable-iteration", "unbounded-map"]
    assert_allclose(found.findings[0].evidence["growth_per_pass"], 2.2, rtol=1e-3)
    assert_allclose(found.findings[0].evidence["wavelength_cells"], 2.0, rtol=0.01)
    assert_allclose(found.findings[0].evidence["largest_relaxation"], 2 / 3.2, rtol=1e-3)
    assert found.findings[1].evidence["exponent"] > 1.8
    assert "implicitly" in found.findings[0].cure


def test_contraction_is_silent_and_its_speed_is_noted():
    for update in (jnp.cos, np.cos, lambda x: [float(np.cos(x[0]))]):
        found = diagnose.fixed_point(update, [0.3])
        assert found.ok, str(found)
        assert any("0.6736" in note for note in found.notes), found.notes
    assert any("JAX" in note for note in diagnose.fixed_point(jnp.cos, [0.3]).notes)
    assert any("retold" in note for note in diagnose.fixed_point(np.cos, [0.3]).notes)
    # What writes in place cannot be retold.
    assert any("central differences, because" in note for note in diagnose.fixed_point(*heat(11)).notes)


def test_slow_contraction_is_a_note():
    found = diagnose.fixed_point(lambda x: 0.99 * x + 0.01, [3.0, 2.0])
    assert found.ok
    assert any(note.startswith("Slow contraction") and "229 passes per digit" in note for note in found.notes)


def test_silence_on_a_lopsided_contraction():
    # Eigenvalues 0.5, but a norm of 50 and a transient that grows before it decays: neither is an instability.
    n = 300
    matrix = 0.5 * np.eye(n) + 50 * np.eye(n, k=n // 2)
    found = diagnose.fixed_point(lambda x: jnp.asarray(matrix) @ x, np.ones(n))
    assert found.ok, str(found)


def test_drift_is_told():
    assert codes(diagnose.fixed_point(lambda x: x + 1.0, [0.0])) == ["does-not-settle"]


def test_complex_pair_and_its_limit():
    angle, size = 1.0, 1.1
    rotation = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = diagnose.fixed_point(lambda x: jnp.asarray(rotation) @ x + 1, [1.0, 2.0])
    assert codes(found) == ["unstable-iteration"]
    away = 1 - size * np.exp(1j * angle)
    limit = 2 * away.real / abs(away) ** 2
    assert_allclose(found.findings[0].evidence["largest_relaxation"], limit, rtol=1e-9)
    assert any("6.3 passes" in note for note in found.notes)
    relaxed = diagnose.fixed_point(lambda x: jnp.asarray(rotation) @ x + 1, [1.0, 2.0], relaxation=0.95 * limit)
    assert relaxed.ok
    assert not diagnose.fixed_point(lambda x: jnp.asarray(rotation) @ x + 1, [1.0, 2.0], relaxation=1.05 * limit).ok


def test_limit_cycle_is_named_first_and_with_its_period():
    found = diagnose.fixed_point(lambda x: 3.2 * x * (1 - x), [0.3])
    assert codes(found) == ["limit-cycle", "unstable-iteration"]
    assert found.findings[0].evidence["period"] == 2
    assert_allclose(found.findings[1].evidence["multiplier"], -1.2, rtol=1e-6)  # 2 - 3.2 at x = 1 - 1/3.2
    assert diagnose.fixed_point(lambda x: 3.2 * x * (1 - x), [0.3], relaxation=0.8).ok


def test_longer_cycle_and_a_turn_without_end():
    found = diagnose.fixed_point(lambda x: 3.5 * x * (1 - x), [0.3])
    assert codes(found)[0] == "limit-cycle"
    assert found.findings[0].evidence["period"] == 4
    turn = diagnose.fixed_point(lambda x: jnp.stack([-x[1], x[0]]), [1.0, 0.5])
    assert codes(turn) == ["limit-cycle"]
    assert diagnose.fixed_point(lambda x: jnp.stack([-x[1], x[0]]), [1.0, 0.5], relaxation=0.5).ok


def test_map_with_two_fixed_points():
    # x² is held by 1, unstable with slope 2, and by 0.
    found = diagnose.fixed_point(lambda x: x**2, [1.0])
    assert codes(found) == ["unstable-iteration", "another-fixed-point"], str(found)
    assert_allclose(found.findings[0].evidence["growth_per_pass"], 2.0)
    assert_allclose(found.findings[1].evidence["distance"], 1.0, rtol=1e-6)
    assert diagnose.fixed_point(lambda x: x**2, [0.9]).ok
    # With one fixed point alone there is nowhere to go.
    assert codes(diagnose.fixed_point(lambda x: 2.0 * x - 1.0, [1.0])) == ["unstable-iteration"]


def test_picard_for_a_stiff_equation():
    # Implicit Euler by substitution: y <- y0 + h f(y) has the multiplier hλ = -5, whatever y is.
    def substitution(y):
        return np.array([1.0 - 0.1 * 50.0 * (y[0] - 0.5), 0.2 - 0.1 * y[1] + 0.01 * y[0] ** 2])

    found = diagnose.fixed_point(substitution, np.array([1.0, 0.2]))
    assert codes(found) == ["unstable-iteration"]
    assert_allclose(found.findings[0].evidence["multiplier"], -5.0, rtol=1e-6)
    assert_allclose(found.findings[0].evidence["largest_relaxation"], 2 / 6, rtol=1e-6)

    # Picard's integral over a whole interval: no eigenvalue grows, and still it is hopeless, (λT)ᵏ/k!.
    def picard(rate, t, y):
        f = -rate * (y - np.cos(t))
        return 1.0 + np.concatenate([[0.0], np.cumsum((f[1:] + f[:-1]) * (t[1] - t[0]) / 2)])

    t = np.linspace(0, 10, 101)
    found = diagnose.fixed_point(lambda y: picard(5.0, t, y), np.ones(101))
    assert codes(found) == ["transient-growth"], str(found)
    assert found.findings[0].evidence["growth_per_pass"] < 1
    assert found.findings[0].evidence["transient_growth"] > 1e4
    assert diagnose.fixed_point(lambda y: picard(0.1, t, y), np.ones(101)).ok


def test_leaving_the_numbers_is_named():
    with np.errstate(all="ignore"):
        found = diagnose.fixed_point(lambda x: np.log(x - 1.0), np.array([3.0, 0.5]))
    assert codes(found) == ["nonfinite-update"]
    assert found.findings[0].evidence["index"] == 1
    # x² - 2 contracts nowhere near 1.4, but it is the start that is at fault where the slope is below 1.
    late = diagnose.fixed_point(lambda x: jnp.where(jnp.abs(x) < 0.1, 0.5 * x + 3.0, x * 0.0 + jnp.nan), [0.0])
    assert codes(late) == ["nonfinite-iterate"]


def test_derivative_that_cannot_be_trusted_is_inconclusive():
    @jax.custom_jvp
    def wrong(x):
        return 0.5 * x

    wrong.defjvp(lambda primals, tangents: (wrong(*primals), 2.0 * tangents[0]))
    assert codes(diagnose.fixed_point(wrong, [1.0, 2.0])) == ["inconclusive"]
    rng = np.random.default_rng(0)
    assert codes(diagnose.fixed_point(lambda x: 0.5 * x + rng.standard_normal(2), [1.0, 2.0])) == ["inconclusive"]


def test_single_precision_and_any_shape():
    x = np.ones((3, 4), np.float32)
    found = diagnose.fixed_point(lambda x: 0.5 * x + 1, x)
    assert found.ok, str(found)
    assert codes(diagnose.fixed_point(lambda x: -1.5 * x + 1, x)) == ["unstable-iteration"]


def test_report_is_plain_json():
    found = diagnose.fixed_point(*magnetosphere(64), relaxation=0.5)
    assert '"unstable-iteration"' in found.to_json()


def test_arnoldi_finds_the_spectrum(rng):
    matrix = rng.standard_normal((12, 12))
    basis, hessenberg = arnoldi(lambda v: matrix @ v, np.ones(12), 12)
    assert_allclose(basis[:12] @ basis[:12].T, np.eye(12), atol=1e-13)
    values = np.linalg.eigvals(hessenberg[:-1])
    assert_allclose(np.sort(np.abs(values)), np.sort(np.abs(np.linalg.eigvals(matrix))), rtol=1e-10)
    # An invariant space of one dimension ends it at once.
    assert arnoldi(lambda v: 3.0 * v, np.ones(5), 4)[1].shape == (2, 1)


def test_mode_and_relaxation_by_hand():
    index = np.arange(64)
    mode = describe_mode(np.exp(0.5j * np.pi * index) * np.exp(-(((index - 30) / 6) ** 2)))
    assert_allclose([mode.center, mode.spread, mode.wavelength], [30, 3, 4], rtol=0.01)

    def limit(*values):
        return largest_relaxation(Spectrum(np.array(values), np.eye(len(values)), 1.0, True))

    assert_allclose(limit(3j), 2 / 10)
    assert_allclose(limit(-4.0, 0.0), 2 / 5)
    assert limit(1.5) == 0
    assert limit(1.0) == float("inf")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: diagnose.fixed_point("cos", [1.0]), "`update` must be a function"),
        (lambda: diagnose.fixed_point(np.cos, None), "`x`"),
        (lambda: diagnose.fixed_point(np.cos, [np.nan]), "`x` must be finite"),
        (lambda: diagnose.fixed_point(np.cos, []), "`x` must have"),
        (lambda: diagnose.fixed_point(np.cos, np.array([1, 2])), "`x` must be floating"),
        (lambda: diagnose.fixed_point(np.cos, np.array([1j])), "`x` must be real"),
        (lambda: diagnose.fixed_point(lambda x: x[:1], [1.0, 2.0]), "`update` must return the shape"),
        (lambda: diagnose.fixed_point(lambda x: 1j * x, [1.0]), "`update` must return real"),
        (lambda: diagnose.fixed_point(np.cos, [1.0], spacing=0.0), "`spacing`"),
        (lambda: diagnose.fixed_point(np.cos, [1.0], relaxation=-1.0), "`relaxation`"),
        (lambda: diagnose.fixed_point(np.cos, [1.0], relaxation=3.0), "`relaxation`"),
        (lambda: diagnose.fixed_point(np.cos, [1.0], refine=3), "`refine`"),
        (lambda: diagnose.fixed_point(np.cos, [1.0], num_passes=1), "`num_passes`"),
        (lambda: diagnose.fixed_point(np.cos, [1.0], num_vectors=0), "`num_vectors`"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
