import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnum import Status
from jaxnum.networks import binary_cross_entropy, mean_squared_error, outcomes, perceptron, train, train_many
from jaxnum.networks.outcomes import _wilson
from jaxnum.networks.train import _Batch

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [1.0], [0.0]])
ADAM = optax.adam(0.1)
SGD = optax.sgd(1.0)


def make(key):
    return perceptron((2, 3, 1), key=key)


def backprop(weights, biases, x, y):
    """Mean squared error of a 2-3-1 sigmoid network and its gradient, by hand."""
    (w1, w2), (b1, b2) = weights, biases
    h = 1 / (1 + np.exp(-(x @ w1.T + b1)))
    p = 1 / (1 + np.exp(-(h @ w2.T + b2)))
    d2 = 2 * (p - y) / p.size * p * (1 - p)
    d1 = d2 @ w2 * h * (1 - h)
    return np.mean((p - y) ** 2), (d1.T @ x, d2.T @ h), (d1.sum(0), d2.sum(0))


def test_the_forward_pass_is_that_of_the_formula(key):
    model = perceptron((2, 4, 3, 2), activation=jnp.tanh, final_activation=jax.nn.softplus, key=key)
    a = X
    for i, (w, b) in enumerate(zip(model.weights, model.biases, strict=True)):
        z = a @ np.asarray(w).T + np.asarray(b)
        a = np.tanh(z) if i < 2 else np.log1p(np.exp(z))
    np.testing.assert_allclose(jax.vmap(model)(X), a, rtol=1e-14)
    assert perceptron((2, 3, 1), use_bias=False, key=key).biases == ()


def test_weights_have_the_variance_of_their_law(key):
    (w,) = perceptron((100, 400), key=key).weights
    # The variance of 40 000 normal numbers scatters by √(2/40000) = 0.7 %; four times that.
    np.testing.assert_allclose(np.var(w) * 100, 1.0, atol=0.028)


def test_one_step_follows_the_gradient_of_backprop_by_hand(key):
    model = make(key)
    model = eqx.tree_at(lambda m: m.biases, model, (jnp.array([0.1, -0.2, 0.3]), jnp.array([-0.4])))
    value, weights, biases = backprop(*jax.tree.map(np.asarray, (model.weights, model.biases)), X, Y)
    solution = train(model, SGD, X, Y, num_steps=1)
    np.testing.assert_allclose(solution.history.value[0], value, rtol=1e-14)
    step = jax.tree.map(lambda a, b: np.asarray(a - b), model, solution.value)
    for claimed, true in zip((*step.weights, *step.biases), (*weights, *biases), strict=True):
        # The step is a difference of numbers of order one: eps of those is what is left of it.
        np.testing.assert_allclose(claimed, true, atol=1e-15)
    norm = np.sqrt(sum(np.sum(g**2) for g in (*weights, *biases)))
    np.testing.assert_allclose(solution.history.gradient_norm[0], norm, rtol=1e-13)
    end = backprop(*jax.tree.map(np.asarray, (solution.value.weights, solution.value.biases)), X, Y)
    norm = np.sqrt(sum(np.sum(g**2) for g in (*end[1], *end[2])))
    np.testing.assert_allclose(solution.residual, norm, rtol=1e-13)


def test_xor_is_learned():
    model = perceptron((2, 4, 1), key=jax.random.key(1))
    for loss in (mean_squared_error, binary_cross_entropy):
        solution = train(model, ADAM, X, Y, loss=loss, num_steps=800, save_every=300)
        assert solution.ok, solution
        prediction = jax.vmap(solution.value)(X)
        assert np.max(np.abs(prediction - Y)) < 0.1, prediction
        np.testing.assert_array_equal(solution.history.step, [0, 300, 600, 800])
        np.testing.assert_allclose(solution.history.value[-1], loss(prediction, Y), rtol=1e-13)
        # The rows of the history are models: the first is the start and the last is the answer.
        first, last = (jax.tree.map(lambda a, i=i: a[i], solution.history.y) for i in (0, -1))
        assert eqx.tree_equal(first, model)
        assert eqx.tree_equal(last, solution.value)


def test_many_at_once_are_the_same_as_one_by_one():
    keys = jax.random.split(jax.random.key(3), 4)
    many = train_many(make, SGD, X, Y, keys=keys, num_steps=50, save_every=20)
    assert many.ok
    assert many.status.code.shape == many.residual.shape == (4,)
    for i, key in enumerate(keys):
        one = train(make(key), SGD, X, Y, num_steps=50, save_every=20)
        mine = jax.tree.map(lambda a, i=i: a[i], many)
        assert jax.tree.structure(one) == jax.tree.structure(mine)
        # Batched products sum in another order: eps per step, and 50 smooth steps amplify it little.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), mine, one)
    old = train_many(make, SGD, X, Y, keys=jax.random.key_data(keys), num_steps=50, save_every=20)
    np.testing.assert_array_equal(old.history.value, many.history.value)


def test_new_models_and_data_cost_no_compilation():
    traces = []

    def loss(prediction, target):
        traces.append(None)
        return mean_squared_error(prediction, target)

    counts = []
    for seed in range(3):
        train(make(jax.random.key(seed)), SGD, X + seed, Y, loss=loss, num_steps=5)
        counts.append(len(traces))
    assert counts[0] == counts[1] == counts[2], counts
    counts = []
    for seed in range(3):
        keys = jax.random.split(jax.random.key(seed), 3)
        train_many(make, SGD, X + seed, Y, keys=keys, num_steps=5, loss=loss)
        counts.append(len(traces))
    assert counts[0] == counts[1] == counts[2], counts


def test_the_dtype_of_the_model_is_kept(key):
    model = jax.tree.map(lambda a: a.astype(jnp.float32), make(key))
    solution = train(model, ADAM, X, Y, num_steps=5)
    leaves = jax.tree.leaves((solution.value, solution.history.y, solution.history.value, solution.residual))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def test_any_equinox_module_can_be_trained(key):
    class Embedding(eqx.Module):
        net: eqx.nn.MLP
        order: jax.Array  # integers are carried along, never trained

        def __call__(self, x):
            return self.net(x[self.order])

    def build(key):
        return Embedding(eqx.nn.MLP(2, 1, 3, 1, key=key), jnp.array([1, 0]))

    sgd = optax.sgd(0.01)
    solution = train(build(key), sgd, X, Y, num_steps=3)
    assert solution.ok
    assert solution.value(X[1]).shape == (1,)
    np.testing.assert_array_equal(solution.value.order, [1, 0])
    many = train_many(build, sgd, X, Y, keys=key[None], num_steps=3)
    np.testing.assert_allclose(many.history.value[0], solution.history.value, rtol=1e-12)
    assert many.history.y.order.shape == (1, 4, 2)


def test_each_member_has_its_own_status():
    def wild(key):
        scale = jnp.where(jax.random.key_data(key)[-1] == 1, 1.0, 0.01)
        return eqx.tree_at(lambda m: m.weights, linear(key), (jnp.ones((1, 2)) * scale,))

    def linear(key):
        return perceptron((2, 1), final_activation=lambda z: z**3, use_bias=False, key=key)

    keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
    solution = train_many(wild, optax.sgd(10.0), X, 0 * Y, keys=keys, num_steps=20)
    # On a sextic the first step grows what starts at 1 and leaves what starts at 0.01.
    assert solution.status.name == "ok: 1, nonfinite: 1", solution
    assert not solution.ok


def test_training_has_a_derivative(key):
    model = make(key)

    def final(scale):
        return train(model, SGD, X * scale, Y, num_steps=5).history.value[-1]

    forward, reverse = jax.jvp(final, (1.0,), (1.0,))[1], jax.grad(final)(1.0)
    np.testing.assert_allclose(forward, reverse, rtol=1e-10)
    # Central differences: error h² ~ 1e-8 and rounding eps/h ~ 1e-12.
    h = 1e-4
    np.testing.assert_allclose(reverse, (final(1 + h) - final(1 - h)) / (2 * h), rtol=1e-5)


def test_cross_entropy_is_that_of_the_logits(rng):
    z, t = rng.normal(size=(5, 2)), rng.uniform(size=(5, 2))
    exact = optax.sigmoid_binary_cross_entropy(jnp.asarray(z), jnp.asarray(t)).mean()
    np.testing.assert_allclose(binary_cross_entropy(jax.nn.sigmoid(z), t), exact, rtol=1e-13)
    # A right answer without doubt costs nothing and pulls nowhere; a wrong one costs infinity.
    sure = jnp.array([0.0, 1.0])
    value, gradient = jax.value_and_grad(lambda z: binary_cross_entropy(jax.nn.sigmoid(z), sure))(
        jnp.array([-800.0, 800.0])
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0.0)
    assert binary_cross_entropy([0.0], [1.0]) == np.inf


def test_divergence_is_reported(key):
    model = perceptron((2, 1), final_activation=jnp.positive, key=key)
    solution = train(model, optax.sgd(3.0), X, Y, num_steps=10)
    assert solution.status == Status.diverged


def test_a_batch_of_all_is_all(key):
    whole = train(make(key), SGD, X, Y, num_steps=20)
    batched = train(make(key), SGD, X, Y, num_steps=20, batch_size=4, key=key)
    # The same samples in another order: sums round differently.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), whole.value, batched.value)


def test_every_epoch_visits_every_sample_once(key):
    order = []
    batch = _Batch(2)
    for n in range(6):
        _, x, _, _ = batch((None, jnp.arange(6.0)[:, None], jnp.zeros((6, 1)), key), n)
        order.append(x[:, 0])
    first, second = np.concatenate(order[:3]), np.concatenate(order[3:])
    np.testing.assert_array_equal(np.sort(first), np.arange(6.0))
    np.testing.assert_array_equal(np.sort(second), np.arange(6.0))
    assert (first != second).any()


def test_batches_follow_the_key_and_the_gradient_of_their_samples(key):
    options = {"num_steps": 5, "batch_size": 1}
    a, b, c = (train(make(key), SGD, X, Y, key=jax.random.key(k), **options) for k in (0, 0, 3))
    np.testing.assert_array_equal(a.history.value, b.history.value)
    assert np.any(a.history.value != c.history.value)
    # One step on one sample is the gradient on it by hand.
    model = make(key)
    [i] = jax.random.permutation(jax.random.fold_in(jax.random.key(0), 0), 4)[:1]
    _, weights, _ = backprop(*jax.tree.map(np.asarray, (model.weights, model.biases)), X[i : i + 1], Y[i : i + 1])
    moved = np.asarray(model.weights[0] - jax.tree.map(lambda r: r[1], a.history.y).weights[0])
    np.testing.assert_allclose(moved, weights[0], atol=1e-15)
    np.testing.assert_allclose(a.history.value[-1], mean_squared_error(jax.vmap(a.value)(X), Y), rtol=1e-13)
    many = train_many(make, SGD, X, Y, keys=key[None], num_steps=5, batch_size=1)
    one = train(make(key), SGD, X, Y, key=jax.random.fold_in(key, 1), **options)
    np.testing.assert_allclose(many.history.value[0], one.history.value, rtol=1e-11)


def test_the_layers_are_told_in_the_history(key):
    model = perceptron((2, 3, 1), activation=jax.nn.relu, key=key)
    weights = (jnp.array([[-1.0, -1.0], [1.0, 0.5], [0.3, -2.0]]), jnp.array([[1.0, -1.0, 2.0]]))
    biases = (jnp.array([-0.5, 0.1, -0.2]), jnp.array([30.0]))
    model = eqx.tree_at(lambda m: (m.weights, m.biases), model, (weights, biases))
    history = train(model, SGD, X, Y, num_steps=2).history
    # Unit 0 is dead on all four samples, unit 2 on three, unit 1 on none; the output is saturated at 1.
    np.testing.assert_array_equal(history.dead_units[0], [1, 0])
    np.testing.assert_allclose(history.saturation[0], [7 / 12, 1.0])
    gradient = jax.grad(lambda m: mean_squared_error(jax.vmap(m)(X), Y))(model)
    norms = [np.sqrt(np.sum(w**2) + np.sum(b**2)) for w, b in zip(gradient.weights, gradient.biases, strict=True)]
    np.testing.assert_allclose(history.layer_gradient_norm[0], norms, rtol=1e-12, atol=1e-300)
    total = np.linalg.norm(history.layer_gradient_norm, axis=1)
    np.testing.assert_allclose(history.gradient_norm, total, rtol=1e-12)


def test_a_thousand_keys_in_one_call_and_what_became_of_them():
    keys = jax.random.split(jax.random.key(1), 1000)
    solution = train_many(make, SGD, X, Y, keys=keys, num_steps=300, save_every=300)
    found = outcomes(solution, target=0.2)
    assert len(found.losses) == 1000
    assert found.solved == np.sum(np.asarray(solution.history.value)[:, -1] <= 0.2)
    assert found.interval[0] < found.share < found.interval[1]
    assert f"{found.solved} of 1000" in str(found)


@pytest.mark.parametrize(("solved", "count", "interval"), [(0, 10, (0, 0.2775)), (5, 10, (0.2366, 0.7634))])
def test_the_interval_is_that_of_wilson(solved, count, interval):
    # Worked values for 0 of 10 and 5 of 10 at 95 %: z²/(n + z²) = 0.2775, and ½ ± z/(2√(n + z²)).
    np.testing.assert_allclose(_wilson(solved, count), interval, atol=5e-5)


MODEL = {"key": None}


def model():
    MODEL["key"] = MODEL["key"] if MODEL["key"] is not None else make(jax.random.key(0))
    return MODEL["key"]


def key0():
    return jax.random.key(0)


def build(sizes=(2, 3, 1), **changes):
    return perceptron(sizes, **({"key": key0()} | changes))


def fit(**changes):
    arguments = {"model": model(), "optimizer": SGD, "x": X, "y": Y, "num_steps": 2} | changes
    return train(**arguments)


def fit_many(**changes):
    arguments = {"make_model": make, "optimizer": SGD, "x": X, "y": Y, "num_steps": 2, "keys": key0()[None]} | changes
    return train_many(**arguments)


@pytest.mark.parametrize(
    ("call", "changes", "says"),
    [
        (build, {"sizes": None}, "`sizes`"),
        (build, {"sizes": "ab"}, r"`sizes\[0\]`"),
        (build, {"sizes": (2,)}, "`sizes`"),
        (build, {"sizes": (2, 0)}, r"`sizes\[1\]`"),
        (build, {"sizes": (2, 1.5)}, r"`sizes\[1\]`"),
        (build, {"activation": None}, "`activation`"),
        (build, {"activation": jnp.sum}, "`activation`"),
        (build, {"final_activation": "relu"}, "`final_activation`"),
        (build, {"final_activation": lambda z: z > 0}, "`final_activation`"),
        (build, {"use_bias": 1}, "`use_bias`"),
        (build, {"key": 0}, "`key`"),
        (build, {"key": np.arange(3)}, "`key`"),
        (build, {"key": None}, "`key`"),
        (fit, {"model": None}, "`model`"),
        (fit, {"model": jnp.sin}, "`model`"),
        (fit, {"optimizer": "adam"}, "`optimizer`"),
        (fit, {"x": X[:, 0]}, "`x`"),
        (fit, {"x": X[:, :1]}, r"`x` must have shape \(n, 2\)"),
        (fit, {"x": X * np.nan}, "`x`"),
        (fit, {"x": X.astype(int)}, "`x`"),
        (fit, {"x": None}, "`x`"),
        (fit, {"x": X[:0], "y": Y[:0]}, "`x`"),
        (fit, {"x": X * 1j}, "`x`"),
        (fit, {"y": Y[:, 0]}, "`y`"),
        (fit, {"y": Y[:3]}, "`y`"),
        (fit, {"y": np.hstack([Y, Y])}, "`y`"),
        (fit, {"y": Y - np.inf}, "`y`"),
        (fit, {"y": 2 * Y, "loss": binary_cross_entropy}, "`y` must lie between 0 and 1"),
        (fit, {"loss": None}, "`loss`"),
        (fit, {"loss": lambda p, t: p - t}, "`loss` must return a real scalar"),
        (fit, {"num_steps": 0}, "`num_steps`"),
        (fit, {"num_steps": 2.0}, "`num_steps`"),
        (fit, {"save_every": -1}, "`save_every`"),
        (fit, {"progress": "yes"}, "`progress`"),
        (fit, {"batch_size": 0, "key": key0()}, "`batch_size`"),
        (fit, {"batch_size": 5, "key": key0()}, "`batch_size` must not exceed"),
        (fit, {"batch_size": 2}, "`key`"),
        (fit, {"batch_size": 2, "key": key0(), "tolerance": 0.1}, "`tolerance` must be None"),
        (fit, {"tolerance": -1.0}, "`tolerance`"),
        (fit_many, {"batch_size": 9}, "`batch_size`"),
        (outcomes, {"solution": None, "target": 0.1}, "`solution`"),
        (outcomes, {"solution": None, "target": 0.0}, "`target`"),
        (fit_many, {"make_model": model}, "`make_model`"),
        (fit_many, {"make_model": lambda _key: None}, "`make_model`"),
        (fit_many, {"make_model": None}, "`make_model`"),
        (fit_many, {"keys": [1, 2]}, "`keys`"),
        (fit_many, {"keys": None}, "`keys`"),
        (fit_many, {"keys": np.zeros(2, np.uint32)}, "`keys`"),
        (fit_many, {"x": X[:, :1]}, "`x`"),
        (fit_many, {"y": Y[:, 0]}, "`y`"),
        (fit_many, {"loss": 3}, "`loss`"),
        (fit_many, {"num_steps": None}, "`num_steps`"),
        (fit_many, {"save_every": 0}, "`save_every`"),
        (fit_many, {"optimizer": None}, "`optimizer`"),
        (lambda **c: model()(**c), {"x": X}, "jax.vmap"),
        (lambda **c: model()(**c), {"x": [1.0, 2.0, 3.0]}, "`x`"),
        (mean_squared_error, {"prediction": Y, "target": Y[:, 0]}, "`target`"),
        (mean_squared_error, {"prediction": "a", "target": Y}, "`prediction`"),
        (binary_cross_entropy, {"prediction": Y * 2, "target": Y}, "`prediction`"),
        (binary_cross_entropy, {"prediction": Y, "target": -Y}, "`target`"),
    ],
)
def test_a_bad_argument_is_named_in_one_line(call, changes, says):
    with pytest.raises(ValueError, match=says) as caught:
        call(**changes)
    assert "\n" not in str(caught.value)
