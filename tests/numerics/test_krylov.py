import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum.numerics.krylov import arnoldi, dominant_modes, lanczos_ends


def rotated(rng, eigenvalues):
    """Symmetric matrix with given eigenvalues in a random basis, and that basis."""
    q, _ = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))
    return jnp.asarray(q @ np.diag(eigenvalues) @ q.T), q


def times(matrix):
    return lambda v: matrix @ v


def test_arnoldi_keeps_its_relation(rng):
    a, start = jnp.asarray(rng.normal(size=(30, 30))), jnp.asarray(rng.normal(size=30))
    basis, hessenberg = arnoldi(times(a), start, 12)
    assert basis.shape == (13, 30)
    assert hessenberg.shape == (13, 12)
    np.testing.assert_allclose(basis @ basis.T, np.eye(13), atol=1e-14)
    np.testing.assert_allclose(a @ basis[:12].T, basis.T @ hessenberg, atol=1e-13)
    np.testing.assert_array_equal(np.tril(hessenberg, -2), 0)


def test_a_whole_basis_is_exact(rng):
    a, _ = rotated(rng, [-3.0, -1.0, 0.5, 2.0, 7.0])
    ends = lanczos_ends(times(a), jnp.asarray(rng.normal(size=5)), 5)
    np.testing.assert_allclose([ends.smallest, ends.largest], [-3, 7], atol=1e-13)
    assert ends.residual < 1e-12


def test_asking_for_more_than_there_is(rng):
    a, _ = rotated(rng, [1.0, 4.0])
    ends = lanczos_ends(times(a), jnp.asarray(rng.normal(size=2)), 50)
    np.testing.assert_allclose([ends.smallest, ends.largest], [1, 4], rtol=1e-13)


def test_both_ends_at_a_saddle_whichever_is_larger(rng):
    spectrum = np.concatenate([[-50.0], np.linspace(0, 1, 60), [20.0]])
    a, q = rotated(rng, spectrum)
    ends = lanczos_ends(times(a), jnp.asarray(rng.normal(size=62)), 25)
    np.testing.assert_allclose([ends.smallest, ends.largest], [-50, 20], rtol=1e-12)
    np.testing.assert_allclose(abs(ends.smallest_vector @ q[:, 0]), 1, rtol=1e-12)
    np.testing.assert_allclose(abs(ends.largest_vector @ q[:, -1]), 1, rtol=1e-12)


def test_the_bound_holds_before_convergence(rng):
    spectrum = np.linspace(0.0, 1.0, 200) ** 2
    a, _ = rotated(rng, spectrum)
    for num_steps in (3, 6, 12):
        ends = lanczos_ends(times(a), jnp.asarray(rng.normal(size=200)), num_steps)
        for value in (ends.smallest, ends.largest):
            assert np.min(np.abs(spectrum - float(value))) <= ends.residual * (1 + 1e-10), (num_steps, ends)


def test_no_ghosts_after_convergence(rng):
    # Without reorthogonalization 60 steps on 8 well separated eigenvalues give dozens of copies.
    spectrum = np.concatenate([np.logspace(-8, 0, 8), np.zeros(92)])
    a, _ = rotated(rng, spectrum)
    ends = lanczos_ends(times(a), jnp.asarray(rng.normal(size=100)), 60)
    np.testing.assert_allclose(ends.largest, 1.0, rtol=1e-13)
    np.testing.assert_allclose(ends.smallest, 0.0, atol=1e-14)


def test_an_invariant_start_reports_its_own_eigenvalue(rng):
    a, q = rotated(rng, [2.0, 3.0, 5.0, 11.0])
    ends = lanczos_ends(times(a), jnp.asarray(q[:, 2]), 4)
    # The start sees nothing but its own direction, up to rounding which must not be normalized into a finding of 0.
    assert 2 - 1e-9 <= ends.smallest <= ends.largest <= 11 + 1e-9, ends
    assert ends.residual < 1e-6, ends


@pytest.mark.parametrize("value", [0.0, 1.0, -4.0])
def test_a_multiple_of_the_identity(value):
    ends = lanczos_ends(lambda v: value * v, jnp.ones(7), 5)
    np.testing.assert_allclose([ends.smallest, ends.largest], value, atol=1e-14)
    np.testing.assert_allclose(ends.residual, 0.0, atol=1e-14)


def test_hessian_vector_products_serve(rng):
    def fn(y):
        return (1 - y[0]) ** 2 + 100 * (y[1] - y[0] ** 2) ** 2

    def product(v):
        return jax.jvp(jax.grad(fn), (jnp.ones(2),), (v,))[1]

    ends = lanczos_ends(product, jnp.asarray(rng.normal(size=2)), 2)
    # Eigenvalues of [[802, −400], [−400, 200]]; the smaller is found to 1e-16 of the larger.
    np.testing.assert_allclose(ends.largest, 1001.600640, rtol=1e-9)
    np.testing.assert_allclose(ends.smallest, 0.399361, rtol=2e-6)


def test_works_under_jit_and_in_single_precision(rng):
    a, _ = rotated(rng, [-1.0, 2.0, 9.0])
    start = jnp.asarray(rng.normal(size=3))
    ends = jax.jit(lambda a, s: lanczos_ends(times(a), s, 3))(a.astype(jnp.float32), start.astype(jnp.float32))
    assert ends.largest.dtype == jnp.float32
    np.testing.assert_allclose([ends.smallest, ends.largest], [-1, 9], rtol=1e-5)


def test_dominant_modes_of_a_rotation(rng):
    # Eigenvalues 1.5 e^{±0.7i} and a crowd inside the circle of radius 0.3; the dominant pair is complex.
    inner = 0.3 * rng.uniform(-1, 1, size=18)
    block = 1.5 * np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    core = np.zeros((20, 20))
    core[:2, :2], core[2:, 2:] = block, np.diag(inner)
    q = rng.normal(size=(20, 20))
    a = q @ core @ np.linalg.inv(q)
    values, vectors = dominant_modes(times(jnp.asarray(a)), jnp.asarray(rng.normal(size=20)), 20)
    np.testing.assert_allclose(np.sort_complex(values[:2]), 1.5 * np.exp([-0.7j, 0.7j]), rtol=1e-8)
    assert np.all(np.diff(np.abs(values)) <= 1e-12)
    for value, vector in zip(values[:2], vectors.T[:2], strict=True):
        assert np.linalg.norm(a @ vector - value * vector) < 1e-7
