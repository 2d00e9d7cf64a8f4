from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum.numerics import blocks, tridiagonal

SIZES = (1, 2, 3, 5, 10, 50, 2048)
DTYPES = (np.float32, np.float64, np.complex64, np.complex128)


def random_system(rng, n, dtype):
    """A matrix without any favor done to it, and a right-hand side."""
    parts = rng.normal(size=(2, 4, n))
    values = parts[0] + 1j * parts[1] if np.issubdtype(dtype, np.complexfloating) else parts[0]
    bands, b = values[:3].astype(dtype), values[3].astype(dtype)
    bands[0, 0] = bands[2, -1] = 0
    return bands, b


def dense(bands, cyclic=False):
    n = bands.shape[1]
    a = np.diag(bands[1]) + np.diag(bands[0, 1:], -1) + np.diag(bands[2, :-1], 1)
    if cyclic:
        a[0, n - 1], a[n - 1, 0] = bands[0, 0], bands[2, -1]
    return a


def ratio(bands, x, b, cyclic=False):
    """LAPACK's test ratio |b - Ax| / (|A| |x| eps) in the 1-norm: below 30 for a stable solver."""
    low, middle, high = np.asarray(bands, complex)
    x, b = np.asarray(x, complex), np.asarray(b, complex)
    before, after = np.roll(x, 1), np.roll(x, -1)
    if not cyclic:
        before[0] = after[-1] = 0
    residual = np.abs(b - (low * before + middle * x + high * after)).sum()
    columns = np.abs(np.roll(low, -1)) + np.abs(middle) + np.abs(np.roll(high, 1))
    return residual / (columns.max() * np.abs(x).sum() * np.finfo(bands.dtype).eps)


@partial(jax.jit, static_argnames="cyclic")  # all sizes in one compilation
def solve_all(systems, cyclic=False):
    return [tridiagonal.solve(*system, cyclic=cyclic) for system in systems]


@partial(jax.jit, static_argnames="cyclic")
def factor_and_solve(systems, cyclic=False):
    return [tridiagonal.solve_factored(tridiagonal.factor(m, cyclic=cyclic), b) for m, b in systems]


def dominated(bands):
    """The matrix with a diagonal that needs no pivoting."""
    bands = bands.copy()
    bands[1] += 3 * np.sign(bands[1].real)
    return bands


@pytest.mark.parametrize("dtype", DTYPES)
def test_residual_is_that_of_a_stable_solver(dtype, rng):
    systems = [random_system(rng, n, dtype) for n in SIZES]
    # One block of rows, or four: two sizes show both, and complex numbers of double precision show all.
    sizes = SIZES if dtype == np.complex128 else (3, 2048)
    dominant = [(dominated(bands), b) for bands, b in (random_system(rng, n, dtype) for n in sizes)]
    for given, found in ((systems, solve_all(systems)), (dominant, factor_and_solve(dominant))):
        for (bands, b), x in zip(given, found, strict=True):
            assert x.dtype == dtype
            assert ratio(bands, x, b) < 30, (b.shape, ratio(bands, x, b))


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_cyclic_systems(dtype, rng):
    systems = [random_system(rng, n, dtype) for n in (3, 5, 50)]
    for bands, _ in systems:
        bands[0, 0], bands[2, -1] = 0.7, -0.4
    dominant = [(dominated(bands), b) for bands, b in systems]
    # `factor` with corners is held against the matrix below, in all its blocks.
    for (bands, b), x in zip(dominant, solve_all(dominant, cyclic=True), strict=True):
        assert ratio(bands, x, b, cyclic=True) < 30, (bands.shape, ratio(bands, x, b, cyclic=True))


def test_product_transpose_and_outer_are_those_of_the_matrix(rng):
    bands, x = random_system(rng, 7, np.complex128)
    y = x[::-1].copy()
    for cyclic in (False, True):
        if cyclic:
            bands[0, 0], bands[2, -1] = 0.7j, -0.4
        a = dense(bands, cyclic)
        np.testing.assert_array_equal(tridiagonal.to_dense(jnp.asarray(bands), cyclic=cyclic), a)
        np.testing.assert_allclose(tridiagonal.matvec(bands, x, cyclic=cyclic), a @ x, rtol=1e-14)
        flipped = tridiagonal.to_dense(tridiagonal.transpose(jnp.asarray(bands)), cyclic=cyclic)
        np.testing.assert_array_equal(flipped, a.T)
        gradient = tridiagonal.outer(jnp.asarray(y), jnp.asarray(x), cyclic=cyclic)
        want = jax.grad(lambda b, c=cyclic: y @ tridiagonal.matvec(b, x, cyclic=c), holomorphic=True)(
            jnp.asarray(bands)
        )
        np.testing.assert_allclose(gradient, want, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("cyclic", [False, True])
def test_derivatives_are_those_of_the_inverse(cyclic, rng):
    bands, b = random_system(rng, 6, np.float64)
    bands[1] += 4
    if cyclic:
        bands[0, 0], bands[2, -1] = 0.5, 0.3
    bands, b, direction = jnp.asarray(bands), jnp.asarray(b), jnp.asarray(rng.normal(size=(3, 6)))

    def pivoted(bands, b):
        return jnp.sum(tridiagonal.solve(bands, b, cyclic=cyclic) ** 3)

    def factored(bands, b):
        return jnp.sum(tridiagonal.solve_factored(tridiagonal.factor(bands, cyclic=cyclic), b) ** 3)

    @jax.jit
    def all_ways(bands):
        each = []
        for fn in (pivoted, factored):
            forward = jax.jvp(lambda m, fn=fn: fn(m, b), (bands,), (direction,))
            each.append((*forward, *jax.grad(fn, (0, 1))(bands, b)))
        return each

    h = 1e-6
    ahead, behind, here = (all_ways(bands + s * h * direction) for s in (1, -1, 0))
    central = (ahead[0][0] - behind[0][0]) / (2 * h)
    for _, forward, reverse, _ in here:
        np.testing.assert_allclose(forward, np.sum(np.asarray(reverse) * np.asarray(direction)), rtol=1e-10)
        np.testing.assert_allclose(forward, central, rtol=1e-6)
    np.testing.assert_allclose(here[1][3], here[0][3], rtol=1e-12)


@pytest.mark.parametrize("cyclic", [False, True])
def test_blocks_and_their_transpose_are_the_matrix(cyclic, rng):
    # Lengths that the four blocks divide, and lengths that leave one, two or three spare rows.
    systems = [random_system(rng, n, np.complex128) for n in (64, 65, 66, 67)]
    for bands, _ in systems:
        bands[1] += 4
        bands[0, 0], bands[2, -1] = 0.7, -0.4j

    @jax.jit
    def both(systems):
        found = []
        for m, b in systems:
            factors = tridiagonal.factor(m, cyclic=cyclic)
            found.append([tridiagonal.solve_factored(factors, b, transposed=t) for t in (False, True)])
            rows = blocks.to_rows(b)
            found[-1] += [rows, blocks.toeplitz(0.5, 2.0, rows, len(b), cyclic=cyclic)]
        return found

    for (bands, b), (x, y, rows, smooth) in zip(systems, both(systems), strict=True):
        a = dense(bands, cyclic)
        np.testing.assert_allclose(a @ np.asarray(x), b, atol=1e-13)
        np.testing.assert_allclose(a.T @ np.asarray(y), b, atol=1e-13)
        np.testing.assert_array_equal(blocks.from_rows(rows, len(b)), b)
        before, after = tridiagonal.neighbors(jnp.asarray(b), cyclic=cyclic)
        product = blocks.from_rows(smooth, len(b))
        np.testing.assert_allclose(product, 0.5 * b + 2 * (before + after), rtol=0, atol=4e-15)
        # What the blocks are filled up with stays zero.
        assert np.count_nonzero(smooth) == len(b)


@pytest.mark.parametrize("n", [10, 80, 81])
def test_matrices_of_a_stack_are_solved_with_and_the_library_gives_the_loop_s_answer(n, rng):
    # The library is what accelerators run, here run on the CPU by hand.
    systems = [random_system(rng, n, np.complex128) for _ in range(3)]
    stack = jnp.stack([jnp.asarray(dominated(m)) for m, _ in systems])
    b, other = jnp.asarray(systems[0][1]), jnp.asarray(systems[1][1])

    @jax.jit
    def found(stack, b, other, k):
        factors = tridiagonal.factor_all(stack)
        one = jax.tree.map(lambda x: x[1], factors)
        right = blocks.to_rows(b), blocks.to_rows(other)
        little = (jnp.full(right[0].shape, jnp.nan + 0j),)
        singles = [
            tridiagonal.solve_rows(factors, (k,), right[:1]),
            tridiagonal.solve_rows_in(little, factors, (k,), right[:1])[0][0],
            tridiagonal._library_rows(factors, (k,), right[:1], ())[0][0],
        ]
        # Matrix k and the one after it for b, and 0 and 1 for the other; what is in the room does not matter.
        room = tuple(jnp.full((2 * x.shape[0], x.shape[1]), jnp.nan + 0j) for x in right)
        doubles = [
            tridiagonal.solve_rows_in(room, factors, (k, 0), right)[0],
            tridiagonal._library_rows(factors, (k, jnp.uint32(0)), right, room)[0],
        ]
        leave = partial(jax.tree.map, lambda x: blocks.from_rows(x, n))
        return leave(singles), leave(doubles), [tridiagonal._library(one, b, flip) for flip in (False, True)]

    def check(matrix, x, b):
        np.testing.assert_allclose(dense(np.asarray(matrix)) @ np.asarray(x), b, atol=1e-13)

    for k in range(3):
        singles, doubles, alone = found(stack, b, other, k)
        for (x,) in singles:
            check(stack[k], x, b)
        for xs, ys in doubles if k < 2 else ():
            for i in (0, 1):
                check(stack[k + i], xs[i], b)
                check(stack[i], ys[i], other)
    check(stack[1], alone[0], b)
    np.testing.assert_allclose(dense(np.asarray(stack[1])).T @ np.asarray(alone[1]), b, atol=1e-13)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about the compiler for CPUs")
@pytest.mark.parametrize("count", [1, 2])
def test_two_vectors_go_through_one_piece_of_machine_code(count):
    # XLA compiles a loop as a whole only while a turn touches less than 1024 bytes. A counter of 64 bits is too much.
    stack, b = jax.ShapeDtypeStruct((2, 3, 1022), complex), jax.ShapeDtypeStruct((256, 4), complex)
    room = jax.ShapeDtypeStruct((count * 256, 4), complex)
    factors = jax.eval_shape(tridiagonal.factor_all, stack)
    solve = jax.jit(lambda f, k, b, room: tridiagonal.solve_rows_in((room, room), f, (k, 1 - k), (b, 2 * b)))
    compiled = solve.lower(factors, jax.ShapeDtypeStruct((), "int32"), b, room).compile().as_text()
    assert compiled.count('xla_cpu_small_call="true"') == 2  # down and up


def test_a_batch_is_its_members(rng):
    systems = [random_system(rng, 8, np.complex128) for _ in range(3)]
    bands = jnp.stack([jnp.asarray(dominated(s[0])) for s in systems])
    b = jnp.stack([jnp.asarray(s[1]) for s in systems])
    together = jax.jit(jax.vmap(lambda m, v: tridiagonal.solve_factored(tridiagonal.factor(m), v)))(bands, b)
    for i in range(3):
        np.testing.assert_allclose(dense(np.asarray(bands[i])) @ np.asarray(together[i]), b[i], atol=1e-13)


def test_a_singular_matrix_is_not_solved_silently():
    bands = jnp.zeros((3, 4)).at[1].set(jnp.array([1.0, 0.0, 1.0, 1.0]))
    assert not np.isfinite(tridiagonal.solve(bands, jnp.ones(4))).all()
