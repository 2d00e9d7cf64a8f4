import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum.diagnose import truth as t

AT = (np.array([[0.3, -0.8], [0.5, 1.1]]), 0.4)


def loss(w, b):
    return np.sum(np.sin(w) ** 2) * np.exp(b)


def slope(w, b):
    return np.concatenate([(2 * np.sin(w) * np.cos(w) * np.exp(b)).ravel(), [loss(w, b)]])


def writes(w, b):
    out = np.empty(4)
    out[:] = np.sin(w).ravel() ** 2
    return out.sum() * np.exp(b)


def kinked(w, b):
    # Writing in place rules autodiff out, and abs a complex step.
    out = np.empty(4)
    out[:] = np.abs(np.sin(w).ravel()) ** 2
    return out.sum() * np.exp(b)


@pytest.mark.parametrize(
    ("fn", "method", "rtol"),
    [(loss, "autodiff", 1e-13), (writes, "Richardson", 1e-8), (kinked, "Richardson", 1e-8)],
)
def test_every_way_leads_to_the_gradient(fn, method, rtol):
    with t.double_precision():
        where = t.parameters(AT, fn)
        found = t.truth(fn, where)
        gradient, error = found.gradient(where.flat())
    assert method in found.method
    np.testing.assert_allclose(gradient, slope(*AT), rtol=rtol)
    assert np.all(np.abs(gradient - slope(*AT)) <= error + 1e-15)
    assert bool(found.why) == (method != "autodiff")


def test_parameters_travel_and_keep_their_kind():
    at = {"w": np.ones((2, 3), np.float32), "b": jnp.zeros(2), "c": 0.5}
    where = t.parameters(at)
    assert where.names == ("b", "c", "w")
    flat = where.flat()
    assert flat.tolist() == [0, 0, 0.5, 1, 1, 1, 1, 1, 1]
    tree = where.tree(flat, own_dtype=True)
    assert tree["w"].dtype == np.float32
    assert isinstance(tree["c"], float)
    assert not isinstance(tree["b"], np.ndarray)
    tree["w"][:] = 7  # a fresh array, the user may write into it
    assert where.flat()[-1] == 1
    # Points are rounded to what a leaf can hold.
    assert where.rounded(flat + 1e-12)[-1] == 1
    assert where.rounded(flat + 1e-12)[0] == 1e-12


def test_names_are_those_of_the_arguments():
    assert t.parameters(AT, loss).names == ("w", "b")
    assert t.parameters(AT, lambda p: loss(*p)).names == ("leaf 0", "leaf 1")


def doubts(fn, at):
    with t.double_precision():
        where = t.parameters(at, fn)
        found = t.truth(fn, where)
        rng = np.random.default_rng(0)
        points = np.array([where.flat() + t.spread(where, rng) for _ in range(5)])
        steps = np.array([t.spread(where, rng) for _ in range(5)])
        return t.doubt(found, points, steps)


def test_smooth_and_kinked_functions_are_believed():
    assert doubts(loss, AT) == ""
    assert doubts(lambda x: np.sum(np.maximum(x, 0) + np.abs(x - 0.1)), np.array([0.3, -0.7, 1.2])) == ""
    assert doubts(lambda x: jnp.sum(jnp.sin(x)), jnp.array([0.3, -0.7])) == ""


def test_jumps_noise_and_hidden_stops_are_doubted(rng):
    at = np.array([0.3, 0.7])
    assert "jumps" in doubts(lambda x: np.round(np.sum(x**2), 2), at)
    assert "two values" in doubts(lambda x: np.sum(x**2) + rng.normal(), at)

    def stopped(x):
        import jax

        return jnp.sum(x**2) + jax.lax.stop_gradient(x[0] ** 2)

    assert "autodiff gives" in doubts(stopped, at)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda x: x, "return one real number, but returns shape"),
        (lambda x: x[0] * 1j, "return one real number, but returns a complex one"),
        (lambda _: "high", "return one real number, but returns str"),
    ],
)
def test_what_is_no_loss_is_refused(fn, words):
    with t.double_precision(), pytest.raises(ValueError, match=f"Argument `loss` must {words}"):
        t.truth(fn, t.parameters(np.array([0.3, 0.7])))


def test_a_loss_of_shape_one_is_a_number():
    def fn(x):
        return np.array([[x @ x]])

    with t.double_precision():
        where = t.parameters(np.array([0.3, 0.7]))
        np.testing.assert_allclose(t.truth(fn, where).gradient(where.flat())[0], [0.6, 1.4])


def test_the_same_loss_is_compiled_once():
    with t.double_precision():
        t._compiled.cache_clear()
        for _ in range(3):
            t.truth(loss, t.parameters(AT, loss))
        assert t._compiled.cache_info().misses == 1
        scale = np.array([1.0, 2.0, 3.0])

        def scaled(x):
            return np.sum(scale * x**2)

        where = t.parameters(np.ones(3))
        first = t.truth(scaled, where).gradient(where.flat())[0]
        scale[:] = 5.0  # other constants, another program
        second = t.truth(scaled, where).gradient(where.flat())[0]
    np.testing.assert_allclose(first, [2, 4, 6])
    np.testing.assert_allclose(second, [10, 10, 10])


def test_leaves_keep_their_brackets():
    tree = {"weights": [np.ones(2), np.ones(3)], "bias": {"inner": np.ones(1)}}
    assert t.parameters(tree).names == ("bias.inner", "weights[0]", "weights[1]")
    layers = [(np.ones((2, 2)), np.ones(2)), (np.ones((2, 1)), np.ones(1))]
    assert t.parameters(layers).names == ("leaf 0[0]", "leaf 0[1]", "leaf 1[0]", "leaf 1[1]")


def test_autodiff_is_not_believed_at_a_tie():
    # max(z, 0) + ln(1 + exp(−|z|)) is ln(1 + exp(z)), with slope ½ at zero; autodiff adds ½ and −½.
    def loss(w):
        z = w[0] + 2 * w[1]
        return np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0.0)

    at = t.parameters(np.zeros(2))
    slope, error = t.truth(loss, at).gradient(np.zeros(2))
    np.testing.assert_allclose(slope, [0.5, 1.0], atol=max(1e-9, 2 * error.max()))
