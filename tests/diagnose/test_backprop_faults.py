import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnose.backprop_by_hand import data, program, start

from jaxnum import diagnose
from jaxnum.diagnose.backprop import network as n
from jaxnum.diagnose.backprop.catalogue import catalogue, compose
from jaxnum.diagnose.backprop.discover import discover
from jaxnum.diagnose.backprop.explain import Explainer
from jaxnum.diagnose.backprop.functions import KNOWN, LOSSES
from jaxnum.diagnose.backprop.passes import adjoints, run


def leaves(points):
    return [np.stack([p[i] for p in points]) for i in range(len(points[0]))]


def known(sizes, count=6, width=0.8, **options):
    classes = options.get("final") == "softmax"
    x, y = data(sizes, classes=classes)
    loss, gradient = program(x, y, **options)
    shape = {k: options[k] for k in ("columns", "bias") if k in options}
    points = [start(sizes, seed=s, width=width, **shape) for s in range(count)]
    values = np.array([loss(*p) for p in points])
    return discover(loss, [a.shape for a in points[0]], leaves(points), values), loss, gradient, points


NETWORKS = [
    ((2, 3, 1), {}),
    ((3, 4, 4, 2), {"hidden": "tanh", "cost": "half squares", "columns": True}),
    ((3, 4, 3), {"hidden": "relu", "final": "softmax", "cost": "classes"}),
    ((2, 3, 3, 1), {"hidden": "tanh", "cost": "binary", "bias": False}),
    ((3, 2), {"final": "linear"}),
]


@pytest.mark.parametrize(("sizes", "options"), NETWORKS)
def test_a_network_is_found_and_its_pass_is_the_gradient(sizes, options):
    found, _, gradient, points = known(sizes, **options)
    assert found is not None
    assert found.sizes == sizes
    assert found.network.final_activation.name == {"linear": "identity", "softmax": "softmax"}.get(
        options.get("final"), "logistic"
    )
    weights, biases = n.split(found.layout, leaves(points))
    grads = n.join(found.layout, len(points[0]), *run(found, compose((), len(weights)), weights, biases))
    by_hand = np.array([np.concatenate([g.ravel() for g in gradient(*p)]) for p in points])
    # The factor of a loss is fitted to 1e-12 or so; binary and half squares carry one.
    np.testing.assert_allclose(grads, by_hand, rtol=1e-9, atol=1e-12)


def test_no_network_is_found_where_there_is_none():
    table, target = np.arange(6.0).reshape(3, 2), np.arange(3.0)

    def loss(w):
        return np.sum(np.sin(table @ w) ** 3) + target[0]

    points = [(np.array([0.1 * k, 0.3 - k]),) for k in range(1, 6)]
    values = np.array([loss(*p) for p in points])
    assert discover(loss, [(2,)], leaves(points), values) is None
    assert discover(lambda w: np.sum(w), [(2,)], leaves(points), values) is None


@pytest.mark.parametrize("act", KNOWN, ids=lambda a: a.name)
def test_slopes_are_derivatives(act, rng):
    z, e = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    retold = {
        "logistic": jax.nn.sigmoid,
        "tanh": jnp.tanh,
        "relu": jax.nn.relu,
        "identity": lambda z: z,
        "softmax": lambda z: jax.nn.softmax(z, axis=-1),
    }[act.name]
    value, back = jax.vjp(retold, jnp.asarray(z))
    np.testing.assert_allclose(act.fn(z), value, rtol=1e-13)
    np.testing.assert_allclose(act.pull(z, act.fn(z), e), back(jnp.asarray(e))[0], rtol=1e-11, atol=1e-13)
    if act.slope_of_value is not None:
        np.testing.assert_allclose(act.slope_of_value(act.fn(z)), act.slope(z), rtol=1e-10)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda a: a.name)
def test_losses_and_their_slopes(loss, rng):
    p, t = rng.uniform(0.1, 0.9, size=(1, 5, 3)), rng.uniform(0.1, 0.9, size=(5, 3))
    h = 1e-6
    for k in [(0, 0, 0), (0, 3, 2)]:
        step = np.zeros_like(p)
        step[k] = h
        slope = (loss.value(p + step, t) - loss.value(p - step, t))[0] / (2 * h)
        # Central differences of smooth functions: h² plus rounding/h.
        np.testing.assert_allclose(loss.slope(p, t)[k], slope, rtol=1e-7)


def test_every_mistake_explains_itself_and_no_mistake_explains_the_right_pass():
    found, _, gradient, points = known((2, 3, 1), count=5)
    told = leaves(points)
    right = np.array([np.concatenate([g.ravel() for g in gradient(*p)]) for p in points])
    explainer = Explainer(found, told, right, 1e-10)
    assert explainer.one() == []
    assert len(explainer.singles) > 35
    for mistake in explainer.singles[::2]:
        rate = 0.2 if mistake.part == "late" else 0.0
        claim = explainer.predict((mistake,), rate)
        survivors = Explainer(found, told, claim, 1e-10).one()
        names = [(m.code, m.where, m.message) for e in survivors for m in e.mistakes]
        assert (mistake.code, mistake.where, mistake.message) in names, mistake
        # What explains equally well makes the same gradient here, not a similar one.
        for e in survivors:
            same = explainer.predict(e.mistakes, e.rate or 0.0) * e.scale
            np.testing.assert_allclose(same, claim, rtol=1e-7, atol=1e-9 * np.abs(claim).max())


def test_adjoints_are_gradients_in_probes():
    # A zero added to every sum: the gradient in it is ∂C/∂z.
    found, *_, points = known((3, 4, 4, 2), hidden="tanh", cost="half squares", columns=True)
    weights, biases = n.split(found.layout, leaves(points[:1]))

    def loss(probes):
        h = jnp.asarray(found.network.x)
        for k, (w, b, probe) in enumerate(zip(weights, biases, probes, strict=True)):
            z = h @ w[0] + b[0] + probe
            h = jnp.tanh(z) if k < 2 else jax.nn.sigmoid(z)
        return 0.5 * jnp.sum((h - found.network.y) ** 2)

    told = adjoints(found, weights, biases)
    for a, b in zip(told, jax.grad(loss)([jnp.zeros(d.shape[1:]) for d in told]), strict=True):
        np.testing.assert_allclose(a[0], b, rtol=1e-9, atol=1e-12)


def test_a_witness_tells_explanations_apart():
    # All samples are the same one, so that a mean over samples and the first of them are too.
    x, y = data((2, 3, 1), samples=1)
    x, y = np.repeat(x, 3, 0), np.repeat(y, 3, 0)
    loss, _ = program(x, y)
    _, claim = program(x, y, faults="bias averaged")
    at = start((2, 3, 1))
    [finding] = diagnose.gradient(loss, claim, at).findings
    assert finding.code == "bias-averaged"
    assert finding.evidence["alternatives"] == [["bias-from-one-sample"]]
    assert finding.evidence["witness_distance"] > 0.1
    # At the witness the two claims do differ.
    x, y = finding.evidence["witness_x"], finding.evidence["witness_y"]
    where = [finding.evidence["witness"][f"leaf {i}"] for i in range(4)]
    one, other = (program(x, y, faults=f)[1](*where) for f in ("bias averaged", "bias first sample"))
    assert np.linalg.norm(one[1] - other[1]) > 0.1 * np.linalg.norm(one[1])


def test_a_penalty_in_the_loss_is_recognized():
    x, y = data((2, 3, 1))
    plain, _ = program(x, y)

    def loss(w1, b1, w2, b2):
        return plain(w1, b1, w2, b2) + 0.01 * (np.sum(w1**2) + np.sum(w2**2))

    def claim(*p):
        g = program(x, y, faults="no slope hidden")[1](*p)
        return g[0] + 0.02 * p[0], g[1], g[2] + 0.02 * p[2], g[3]

    diagnosis = diagnose.gradient(loss, claim, start((2, 3, 1)))
    assert [f.code for f in diagnosis.findings] == ["missing-slope"]
    assert "0.01 times the sum of squared weights" in diagnosis.notes[1]


def test_catalogue_knows_the_layers():
    found, *_ = known((3, 4, 4, 2), hidden="tanh", cost="half squares", columns=True)
    where = {m.where for m in catalogue(found) if m.code == "missing-slope"}
    assert where == {"the last layer", "hidden layer 1", "hidden layer 2", "the hidden layers", "every layer"}
    assert all(m.message and m.cure for m in catalogue(found))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (([1.0, 2.0], [1.0, 2.0]), "x"),
        (([[1.0], [2.0]], [1.0, 2.0, 3.0]), "y"),
        (([[np.nan], [2.0]], [1.0, 2.0]), "x"),
        (([[1.0], [2.0]], [1.0, 2.0], "relu"), "activation"),
        (([[1.0], [2.0]], [1.0, 2.0], np.sum), "activation"),
        (([[1.0], [2.0]], [1.0, 2.0], None, 3), "final_activation"),
        (([[1.0], [2.0]], [1.0, 2.0], None, None, "squares"), "loss"),
    ],
)
def test_a_network_of_nonsense_is_refused(arguments, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        diagnose.Network(*arguments)


def test_activations_are_recognized_or_differentiated():
    net = diagnose.Network([[1.0], [2.0]], [0, 1], np.tanh, lambda z: 1 / (1 + np.exp(-z)))
    assert (net.activation.name, net.final_activation.name) == ("tanh", "logistic")
    own = diagnose.Network([[1.0], [2.0]], [0, 1], lambda z: np.log(1 + np.exp(z))).activation
    z = np.array([-1.0, 0.3])
    np.testing.assert_allclose(own.slope(z), 1 / (1 + np.exp(-z)), rtol=1e-12)
    labels = diagnose.Network([[1.0], [2.0], [3.0]], [0, 2, 1], np.tanh, jax.nn.softmax)
    np.testing.assert_array_equal(labels.y, np.eye(3)[[0, 2, 1]])
