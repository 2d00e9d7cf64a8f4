"""Junk in one argument of any verb: a refusal in one line that names the argument, or an answer that does not lie."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnum import Solution, diagnose, ensemble, jupiter, networks, optimize, regression, signals
from jaxnum import schrodinger as qm

N = 16  # one length for all, so that what is accepted compiles once
GRID = qm.Grid(-5.0, 5.0, N)
X = np.linspace(-1.0, 1.0, N)
MODEL = networks.perceptron([1, 2, 1], key=jax.random.key(0))
NAN, SHORT = np.where(X > 0.5, np.nan, X), X[:-1]

NO_TREE = (None, "abc", object(), {}, [], np.ones(2, "O"), np.array(["a"] * 2), [1.0, np.nan], np.arange(2))
ANYTHING = (None, "abc", object(), {}, [], [[1.0], [1.0, 2.0]], np.ones(N, "O"), np.array(["a"] * N))
VECTOR = (*ANYTHING, NAN, SHORT, X * 1j, X[None], np.arange(N), np.inf * np.ones(N), np.ones(0), 3.0, True)
POSITIVE = (*ANYTHING, 0.0, -1.0, np.nan, np.inf, 1j, "1", X, True)
COUNT = (*ANYTHING, 0, -3, 2.5, np.nan, "7", True, X)
RECORD = (*ANYTHING, 3.0, "order", int, X)


@dataclass(frozen=True)
class Verb:
    """A verb, arguments that are right, and what may stand in the place of each."""

    fn: Callable
    right: dict[str, Any]
    junk: dict[str, tuple]


def bowl(y):
    """The simplest landscape."""
    return (y**2).sum()


def slope_of_bowl(y):
    """Its gradient."""
    return 2 * y


def packet(x):
    """The simplest wave function."""
    return np.exp(-(x**2)) + 0j


DATA = {"y": X**2, "x": X}
VERBS = {
    "grid": Verb(
        qm.Grid, dict(x_min=0.0, x_max=1.0, num_points=N), dict(x_min=RECORD, x_max=(*RECORD, -1.0), num_points=COUNT)
    ),
    "gaussian_packet": Verb(
        qm.gaussian_packet,
        dict(x=GRID.x, center=0.0, sigma=1.0, momentum=0.0),
        dict(x=(*ANYTHING, NAN, X * 1j), sigma=POSITIVE, center=RECORD, momentum=RECORD),
    ),
    "propagate": Verb(
        qm.propagate,
        dict(psi0=np.exp(-(GRID.x**2)), potential=X, grid=GRID, t1=1.0, num_steps=4),
        dict(
            psi0=(*ANYTHING, NAN, SHORT, X[None], np.arange(N)),
            potential=tuple(v for v in VECTOR if v is not None),
            grid=RECORD,
            t1=POSITIVE,
            num_steps=COUNT,
            mass=POSITIVE,
            hbar=POSITIVE,
            method=RECORD,
            boundary=RECORD,
            adjoint=RECORD,
            save_every=tuple(v for v in COUNT if v is not None),
        ),
    ),
    "stationary_states": Verb(
        qm.stationary_states,
        dict(potential=X, grid=GRID, num_states=2),
        dict(
            potential=tuple(v for v in VECTOR if v is not None), grid=RECORD, num_states=(*COUNT, N + 1), mass=POSITIVE
        ),
    ),
    "minimize": Verb(
        optimize.minimize,
        dict(fn=bowl, optimizer=optax.sgd(0.1), y0=[1.0, 2.0], num_steps=3),
        dict(fn=(None, "abc", 3.0, X), optimizer=RECORD, y0=NO_TREE, num_steps=COUNT),
    ),
    "race": Verb(
        optimize.race,
        dict(fn=bowl, optimizers={"a": optax.sgd(0.1)}, y0=[1.0, 2.0], num_steps=3),
        dict(optimizers=RECORD, y0=NO_TREE, num_steps=COUNT),
    ),
    "adam": Verb(
        optimize.adam, dict(learning_rate=0.1), dict(learning_rate=POSITIVE, b1=(*RECORD, 1.0, -0.1), eps=RECORD)
    ),
    "stability_limit": Verb(
        optimize.stability_limit,
        dict(family=optimize.Sgd(), curvature=3.0),
        dict(family=RECORD, curvature=(*ANYTHING, 0.0, -1.0, np.nan, 1j)),
    ),
    "monomials": Verb(
        regression.monomials, dict(x=X, degree=2), dict(x=VECTOR, degree=(*ANYTHING, -1, 2.5, "7", True))
    ),
    "least_squares": Verb(
        regression.least_squares,
        dict(features=np.stack([X**0, X], 1), y=X),
        dict(features=(*ANYTHING, NAN[:, None], X), y=VECTOR, ridge=(*ANYTHING, -1.0, np.nan, 1j)),
    ),
    "descend": Verb(
        regression.descend,
        dict(features=np.stack([X**0, X], 1), y=X, learning_rate=0.1, num_steps=3),
        dict(features=(*ANYTHING, NAN[:, None], X), y=VECTOR, learning_rate=POSITIVE[1:], num_steps=COUNT),
    ),
    "fit_polynomial": Verb(
        regression.fit_polynomial, dict(DATA, degree=2), dict(x=VECTOR, y=VECTOR, degree=(*ANYTHING, -1, 2.5, N, True))
    ),
    "train": Verb(
        networks.train,
        dict(model=MODEL, optimizer=optax.sgd(0.1), x=X[:, None], y=X[:, None], num_steps=3),
        dict(optimizer=RECORD, x=(*ANYTHING, NAN[:, None]), y=(*ANYTHING, NAN[:, None]), num_steps=COUNT),
    ),
    "corotation": Verb(
        jupiter.corotation,
        dict(system=jupiter.JUPITER, field=jupiter.Dipole(), sigma=0.1, rtol=1e-6, atol=1e-6),
        dict(system=RECORD, field=RECORD, sigma=RECORD, x0=POSITIVE, x1=(*POSITIVE, 2.0), rtol=POSITIVE, atol=POSITIVE),
    ),
    "coupled": Verb(
        jupiter.coupled,
        dict(
            system=jupiter.JUPITER,
            field=jupiter.Dipole(),
            law=jupiter.SmoothRamp(),
            outer=jupiter.CurrentDensity(-1e-8),
            num_nodes=24,
        ),
        dict(system=RECORD, field=RECORD, law=RECORD, outer=RECORD, x0=POSITIVE, x1=(*POSITIVE, 2.0), num_nodes=COUNT),
    ),
    "ground_state": Verb(
        qm.ground_state,
        dict(potential=GRID.x**2, grid=GRID),
        dict(potential=tuple(v for v in VECTOR if v is not None and v is not X), grid=RECORD, mass=POSITIVE),
    ),
    "choose_resolution": Verb(
        qm.choose_resolution,
        dict(psi0=packet, potential=None, grid_or_bounds=(-8.0, 8.0), t1=0.1, tol=0.1),
        dict(grid_or_bounds=RECORD, t1=POSITIVE, tol=POSITIVE, method=RECORD, boundary=RECORD),
    ),
    "sweep": Verb(
        ensemble.sweep,
        dict(fn=bowl, parameters=X[:, None]),
        dict(fn=(None, "abc", 3.0, X), parameters=NO_TREE, chunk_size=tuple(v for v in COUNT if v is not None)),
    ),
    "gradient": Verb(
        diagnose.gradient,
        dict(loss=bowl, claimed_gradient=slope_of_bowl, at=np.ones(2)),
        dict(loss=(None, "abc", 3.0, X), claimed_gradient=(None, "abc", 3.0), at=NO_TREE, points=(3.0, "abc", [X])),
    ),
    "step_size": Verb(
        diagnose.step_size,
        dict(loss=bowl, params=np.ones(2), optimizer_or_rate=0.1),
        dict(loss=(None, "abc", 3.0), params=NO_TREE, optimizer_or_rate=(None, "abc", -1.0, np.nan, {}, X)),
    ),
    "update_rule": Verb(diagnose.update_rule, dict(update=optax.sgd(0.1)), dict(update=(None, "abc", 3.0, X))),
    "scheme": Verb(
        diagnose.scheme,
        dict(left=np.eye(N) + 0j, right=np.eye(N) + 0j, dx=0.1, dt=0.1),
        dict(left=(None, "abc", X, {}, np.ones((N, N)) * np.nan), right=("abc", X, {}), dx=POSITIVE[:-2], dt=POSITIVE),
    ),
    "wavefunction": Verb(
        diagnose.wavefunction,
        dict(psi=np.ones((3, N)) * np.exp(-(GRID.x**2)) + 0j, x=GRID.x, t=np.arange(3.0)),
        dict(psi=(*ANYTHING, X), x=(*ANYTHING, SHORT), t=(*ANYTHING, X), mass=POSITIVE),
    ),
    "fixed_point": Verb(
        diagnose.fixed_point,
        dict(update=np.cos, x=X),
        dict(update=(None, "abc", 3.0, X), x=(*ANYTHING, NAN, X * 1j), relaxation=POSITIVE),
    ),
    "smoothing": Verb(
        diagnose.smoothing, dict(filter=np.copy, x=X), dict(filter=(None, "abc", 3.0), x=(*ANYTHING, NAN, X[::-1]))
    ),
    "order": Verb(
        diagnose.order,
        dict(solve=lambda n: 1 / n, truth=0.0, sizes=[10, 20, 40], expected=1),
        dict(solve=(None, "abc", 3.0), sizes=(None, "abc", [10], [1, 2, -3], [40, 20, 10], 3.0), expected=POSITIVE),
    ),
    "smooth": Verb(
        signals.smooth,
        dict(DATA, method=signals.LocalPolynomial(0.5)),
        dict(y=VECTOR, x=(*VECTOR[1:], X[::-1], X * 0), method=RECORD, derivative=(*ANYTHING, -1, 1.5, np.nan)),
    ),
    "differentiate": Verb(
        signals.differentiate,
        dict(DATA, method=signals.LocalPolynomial(0.5)),
        dict(y=VECTOR, order=(*ANYTHING, 0, -1, 1.5)),
    ),
}
# A plain formula may overflow where a square of its input does; that is no fault.
NUMBERS = st.one_of(st.floats(-1e60, 1e60), st.sampled_from([np.nan, np.inf, -np.inf]))
REFUSAL = re.compile(r"^Argument `(\w+)[^`]*` must [^\n]+, but [^\n]+\.$")
PLACES = [(verb, name) for verb, v in VERBS.items() for name in v.junk]


@pytest.mark.parametrize(("verb", "name"), PLACES, ids=lambda w: w)
def test_junk_is_refused_by_name(verb, name):
    for junk in VERBS[verb].junk[name]:
        assert_refused_or_honest(VERBS[verb], {name: junk})


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_junk_in_two_arguments_at_once(data):
    about = VERBS[data.draw(st.sampled_from(sorted(VERBS)))]
    names = data.draw(st.lists(st.sampled_from(sorted(about.junk)), min_size=1, max_size=2, unique=True))
    # A number is a tree of parameters too, and then it is up to the user's own function whether it makes sense.
    trees = {"y0", "at", "params", "parameters"}
    junk = [
        st.one_of(st.sampled_from(about.junk[name]), st.text(max_size=3), st.nothing() if name in trees else NUMBERS)
        for name in names
    ]
    assert_refused_or_honest(about, {name: data.draw(some) for name, some in zip(names, junk, strict=True)})


def assert_refused_or_honest(about, chosen):
    answer, refusal = None, None
    try:
        answer = about.fn(**{**about.right, **chosen})
    except ValueError as error:
        refusal = str(error)
    if refusal is None:
        values = jax.tree.leaves(answer.value if isinstance(answer, Solution) else answer)
        finite = all(np.all(np.isfinite(v)) for v in values if hasattr(v, "dtype") and v.dtype.kind in "fc")
        assert finite or (isinstance(answer, Solution) and not answer.ok), f"{chosen!r} gives {answer!r}"
        return
    found = REFUSAL.match(refusal)
    assert found, f"{chosen!r}: {refusal}"
    # Where two arguments disagree, either may be named, also one that was left as it is.
    assert found[1] in {*chosen, *about.right, *inspect.signature(about.fn).parameters}, f"{chosen!r}: {refusal}"
