"""Training: lower the loss of a model on its samples, all of them in each step or a batch.

    L(θ) = loss(model_θ(x_1), ..., model_θ(x_N); y_1, ..., y_N),    θ_{n+1} = θ_n + Δ_n,    Δ_n from ∇L(θ_n)

A model is any Equinox module that takes one sample. Its floating-point arrays are the parameters θ; its functions and
sizes only decide which program is compiled. Of perceptrons the history also tells, layer by layer, how strong the
gradient is and how many units are at rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from jaxnum._checks import as_array, as_count, as_tree, check_positive, refuse
from jaxnum._progress import Progress
from jaxnum._solution import History, Solution
from jaxnum._typing import is_traced
from jaxnum.networks.perceptron import Perceptron, as_keys, predict_together
from jaxnum.networks.units import LayerRows
from jaxnum.numerics.descent import descend, descend_together

_FEW = 16  # inputs of a layer up to which products of many small matrices are written out

Loss = Callable[[Array, Array], Array]
"""A function `loss(prediction, target) -> scalar` of two arrays of shape (samples, outputs)."""


def mean_squared_error(prediction: Array, target: Array) -> Array:
    """Return the mean of (prediction − target)², over samples and outputs, without a factor 1/2.

    Args:
        prediction: Any shape.
        target: The same shape: (n,) against (n, 1) is refused, for it would compare each sample with every other.

    Returns:
        Scalar, in the unit of the target squared.

    Raises:
        ValueError: If the arrays are not real and finite, or their shapes differ.

    Example:
        >>> from jaxnum.networks import mean_squared_error
        >>> float(mean_squared_error([1.0, 2.0], [1.0, 4.0]))
        2.0
    """
    prediction, target = _pair(prediction, target)
    return jnp.mean((prediction - target) ** 2)


def binary_cross_entropy(prediction: Array, target: Array) -> Array:
    """Return the mean of −t log p − (1 − t) log(1 − p), for probabilities p and targets t.

    Nothing is clipped: a prediction of exactly 0 or 1 on the wrong side costs infinity, and training then ends with the
    status `nonfinite`. The cure is a network with the identity at its end and the loss
    `lambda z, t: jnp.mean(optax.sigmoid_binary_cross_entropy(z, t))`, which never forms the probability.

    Args:
        prediction: Probabilities between 0 and 1, any shape.
        target: Targets between 0 and 1, the same shape.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: If a value is outside of [0, 1], or the shapes differ.

    Example:
        >>> from jaxnum.networks import binary_cross_entropy
        >>> round(float(binary_cross_entropy([0.5, 1.0], [1.0, 1.0])), 4)
        0.3466
    """
    prediction, target = _pair(prediction, target)
    _check_fraction("prediction", prediction)
    _check_fraction("target", target)
    # 0 log 0 is 0 here, and its slope too: the inner `where` keeps NaN out of the gradient.
    one, zero = jnp.ones_like(prediction), jnp.zeros_like(prediction)
    yes = target * jnp.log(jnp.where(target == 0, one, prediction))
    no = (1 - target) * jnp.log1p(-jnp.where(target == 1, zero, prediction))
    return -jnp.mean(yes + no)


def train(
    model: Any,
    optimizer: optax.GradientTransformation,
    x: Array,
    y: Array,
    *,
    loss: Loss = mean_squared_error,
    num_steps: int,
    save_every: int = 1,
    batch_size: int | None = None,
    key: Array | None = None,
    tolerance: Any = None,
    progress: Progress = False,
) -> Solution:
    """Train a model, on all samples at once or on mini-batches.

    New parameters and new data cost no compilation; a new optimizer, loss or lambda does: build them once.

    Args:
        model: Equinox module that maps (features,) to (outputs,), such as a `perceptron`.
        optimizer: Optax transformation such as `optax.adam(0.05)`.
        x: Features, shape (samples, features), taken in the dtype of the model.
        y: Targets, shape (samples, outputs), taken in the dtype of the model.
        loss: Function `loss(prediction, target)` of arrays of shape (samples, outputs), returning a real scalar.
        num_steps: Number of steps; with a tolerance, the most that are taken.
        save_every: Steps between rows of `history`.
        batch_size: Samples in each step; None takes all. Every epoch visits the samples in a new order, and those
            that fill no batch at its end are left out of it. The rows of `history` are of all samples.
        key: Random key that decides the order; needed with `batch_size`.
        tolerance: Norm of the gradient at which to stop; not with `batch_size`.
        progress: False, True for a bar, or a function `progress(done, total)`.

    Returns:
        Solution with `value` = the trained model, `residual` = norm of the gradient of the loss there, and `history`
        with `step`, `y` (the models, rows stacked in their arrays), `value` (the loss) and `gradient_norm` at the
        start, every `save_every` steps and the end; for a `perceptron` also `layer_gradient_norm`, `saturation` (share
        of unit and sample pairs whose slope is below 1 % of the steepest) and `dead_units` (how many react to no
        sample), each (rows, layers). Status `nonfinite` when a loss or parameter stopped being finite (`num_steps` then
        says at which step), `diverged` when the loss ended above its start, `max_steps` when a tolerance was given and
        not met. `ok` does not say that the loss is low: look at `history.value[-1]`.

    Raises:
        ValueError: If an argument does not make sense, or the model does not fit `x` and `y`.

    Example:
        >>> import jax, numpy as np, optax
        >>> from jaxnum.networks import perceptron, train
        >>> x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
        >>> model = perceptron((2, 4, 1), key=jax.random.key(1))
        >>> solution = train(model, optax.adam(0.1), x, y, num_steps=500)
        >>> jax.vmap(solution.unwrap())(x).round()[:, 0].tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    num_steps, save_every = _check_run(optimizer, loss, num_steps, save_every)
    if not (isinstance(progress, bool) or callable(progress)):
        refuse("progress", "be True, False or a function `progress(done, total)`", f"is {progress!r:.60}")
    params, constants, static = _split("model", model)
    params, constants = as_tree("model", params), jax.tree.map(jnp.asarray, constants)
    x, y = _check_data("model", static.join(params, constants), x, y, loss)
    sample, key = _check_batches(batch_size, key, len(x), tolerance)
    args = (constants, x, y) if sample is None else (constants, x, y, key)
    options = _options(static, params, sample) | {"tolerance": tolerance, "progress": progress, "label": "train"}
    run = descend(
        _Objective(static, loss), optimizer, params, args, num_steps=num_steps, save_every=save_every, **options
    )
    return _with_models(run, constants, static)


def train_many(
    make_model: Callable[[Array], Any],
    optimizer: optax.GradientTransformation,
    x: Array,
    y: Array,
    *,
    keys: Array,
    num_steps: int,
    loss: Loss = mean_squared_error,
    save_every: int = 1,
    batch_size: int | None = None,
) -> Solution:
    """Train one model for each random key, all of them in one compiled call.

    How often a network fails is seen only over many starts. Memory holds every saved model of every member: choose
    `save_every` accordingly.

    Args:
        make_model: Function `make_model(key)` returning the model to start from, such as
            `lambda key: perceptron((2, 3, 1), key=key)`. A new lambda is compiled anew: build it once.
        optimizer: Optax transformation such as `optax.adam(0.05)`.
        x: Features, shape (samples, features), the same for all members.
        y: Targets, shape (samples, outputs), the same for all members.
        keys: Random keys, shape (members,), as from `jax.random.split(jax.random.key(0), 20)`.
        num_steps: Number of steps; all are taken.
        loss: Function `loss(prediction, target)` returning a real scalar.
        save_every: Steps between rows of `history`.
        batch_size: Samples in each step; None takes all. Member i draws them by `jax.random.fold_in(keys[i], 1)`.

    Returns:
        Solution as that of `train`, with a leading axis of members in every array: `value` is a model whose arrays
        are stacked, `status` is that of each member, `history.value` has shape (members, rows). To ask all members
        use `equinox.filter_vmap(lambda model: jax.vmap(model)(x))(solution.value)`.

    Raises:
        ValueError: If an argument does not make sense, or the models do not fit `x` and `y`.

    Example:
        >>> import jax, numpy as np, optax
        >>> from jaxnum.networks import perceptron, train_many
        >>> x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
        >>> make = lambda key: perceptron((2, 4, 1), key=key)
        >>> keys = jax.random.split(jax.random.key(0), 5)
        >>> solution = train_many(make, optax.adam(0.1), x, y, keys=keys, num_steps=100, save_every=50)
        >>> solution.history.value.shape
        (5, 3)
    """
    if not callable(make_model):
        refuse("make_model", "be a function `make_model(key)` returning a model", f"is {make_model!r:.60}")
    num_steps, save_every = _check_run(optimizer, loss, num_steps, save_every)
    keys = as_keys("keys", keys, batch=True)
    try:
        example = eqx.filter_eval_shape(make_model, keys[0])
    except TypeError as error:
        refuse("make_model", "take a key and return a model", f"fails with {type(error).__name__}: {error}")
    x, y = _check_data("make_model", example, x, y, loss)
    sample, _ = _check_batches(batch_size, keys[0], len(x), None)
    small = isinstance(example, Perceptron) and all(w.shape[1] <= _FEW for w in example.weights)
    if small and sample is None:
        return _train_perceptrons(make_model, optimizer, loss, keys, x, y, num_steps, save_every)
    return _train_all(make_model, optimizer, loss, keys, x, y, num_steps, save_every, sample)


# Equinox's jit and vmap let functions out again: those that `make_model` built when it was traced stay with the models.
@eqx.filter_jit
def _train_all(make_model, optimizer, loss, keys, x, y, num_steps, save_every, sample):
    def member(key):
        params, constants, static = _split("make_model", make_model(key))
        params, constants = jax.tree.map(jnp.asarray, (params, constants))
        args = (constants, x, y) if sample is None else (constants, x, y, jax.random.fold_in(key, 1))
        options = {"num_steps": num_steps, "save_every": save_every} | _options(static, params, sample)
        run = descend(_Objective(static, loss), optimizer, params, args, **options)
        return _with_models(run, constants, static)

    return eqx.filter_vmap(member)(keys)


@eqx.filter_jit
def _train_perceptrons(make_model, optimizer, loss, keys, x, y, num_steps, save_every):
    params, constants, static = _split("make_model", eqx.filter_vmap(make_model, out_axes=eqx.if_array(-1))(keys))
    options = {"num_steps": num_steps, "save_every": save_every, "also": LayerRows(static)}
    objective = _Objective(static, loss)
    run = descend_together(objective, objective.of_many, optimizer, params, (constants, x, y), **options)
    return _with_models(run, constants, static)


@dataclass(frozen=True)
class _Static:
    """What is left of a model without its arrays; equal for equal architectures, so that they share a compilation."""

    leaves: tuple
    structure: Any

    def join(self, params: Any, constants: Any) -> Any:
        """Put a model together."""
        return eqx.combine(params, constants, jax.tree.unflatten(self.structure, self.leaves))


@dataclass(frozen=True)
class _Objective:
    """The loss as a function of the parameters."""

    static: _Static
    loss: Loss

    def __call__(self, params: Any, args: Any) -> Array:
        constants, x, y = args[:3]
        return self.loss(jax.vmap(self.static.join(params, constants))(x), y)

    def of_many(self, params: Any, args: Any) -> Array:
        """Return the loss of each of many perceptrons, whose parameters have a last axis of members."""
        constants, x, y = args
        prediction = predict_together(self.static.join(params, constants), x)
        return jax.vmap(self.loss, in_axes=(-1, None))(prediction, y)


@dataclass(frozen=True)
class _Batch:
    """What step n sees of the samples: a part of the order that this epoch visits them in."""

    size: int

    def __call__(self, args: Any, n: Any) -> Any:
        constants, x, y, key = args
        per_epoch = len(x) // self.size
        order = jax.random.permutation(jax.random.fold_in(key, n // per_epoch), len(x))
        chosen = jax.lax.dynamic_slice_in_dim(order, n % per_epoch * self.size, self.size)
        return constants, x[chosen], y[chosen], key


def _options(static: _Static, params: Any, sample: Any) -> dict[str, Any]:
    """What `descend` shall do besides: draw batches, and look into the layers of a perceptron."""
    also = LayerRows(static) if isinstance(params, Perceptron) else None
    return {"sample": sample, "also": also}


def _check_batches(batch_size: Any, key: Any, count: int, tolerance: Any) -> tuple[_Batch | None, Any]:
    if tolerance is not None:
        check_positive("tolerance", tolerance)
    if batch_size is None:
        return None, None
    batch_size = as_count("batch_size", batch_size)
    if batch_size > count:
        refuse("batch_size", f"not exceed the number of samples, {count}", f"is {batch_size}")
    if tolerance is not None:
        refuse("tolerance", "be None with `batch_size`: the gradient of a batch is not the gradient", "is given")
    return _Batch(batch_size), as_keys("key", key, batch=False)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)


def _is_parameter(leaf: Any) -> bool:
    return _is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _split(name: str, model: Any) -> tuple[Any, Any, _Static]:
    """Split a model into parameters, arrays that are not trained (integers, keys), and the rest."""
    if not callable(model):
        but = "is" if name == "model" else "returns"
        refuse(name, "be an Equinox module" if name == "model" else "return an Equinox module", f"{but} {model!r:.60}")
    params, rest = eqx.partition(model, _is_parameter)
    if not jax.tree.leaves(params):
        refuse(name, "have floating-point arrays to train", f"has none in {type(model).__name__}")
    constants, rest = eqx.partition(rest, _is_array)
    leaves, structure = jax.tree.flatten(rest)
    static = _Static(tuple(leaves), structure)
    try:
        hash(static)
    except TypeError as error:
        refuse(name, "be hashable in all but its arrays", f"is not: {error}")
    return params, constants, static


def _with_models(run: Solution, constants: Any, static: _Static) -> Solution:
    """Show models where the descent had parameters."""
    rows = dict(run.history.items())
    stacked = jax.tree.map(lambda c: jnp.stack([c] * len(rows["value"])), constants)
    rows["y"] = static.join(rows["y"], stacked)
    value = static.join(run.value, constants)
    return Solution(value, History(**rows), run.residual, run.num_steps, run.status)


def _pair(prediction: Any, target: Any) -> tuple[Array, Array]:
    prediction, target = as_array("prediction", prediction), as_array("target", target)
    if prediction.shape != target.shape:
        refuse("target", f"have the shape {prediction.shape} of the prediction", f"has shape {target.shape}")
    return prediction, target


def _check_fraction(name: str, values: Array) -> None:
    if is_traced(values):
        return
    values = np.asarray(values)
    outside = (values < 0) | (values > 1)
    if outside.any():
        refuse(name, "lie between 0 and 1", f"holds {values[outside].flat[0]:g}")


def _check_run(optimizer: Any, loss: Any, num_steps: Any, save_every: Any) -> tuple[int, int]:
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        refuse("optimizer", "be an Optax transformation such as `optax.adam(0.05)`", f"is {optimizer!r:.60}")
    if not callable(loss):
        refuse("loss", "be a function `loss(prediction, target)`", f"is {loss!r:.60}")
    return as_count("num_steps", num_steps), as_count("save_every", save_every)


# Jitted for their shapes alone: a jitted function remembers what it was traced with, so that the checks of a second
# training with the same architecture cost nothing.
@partial(jax.jit, static_argnames="static")
def _predict(static, params, constants, x):
    return jax.vmap(static.join(params, constants))(x)


@partial(jax.jit, static_argnames="loss")
def _lose(loss, prediction, target):
    return loss(prediction, target)


def _check_data(name: str, model: Any, x: Any, y: Any, loss: Loss) -> tuple[Array, Array]:
    """Return features and targets in the dtype of the model, or refuse what does not fit."""
    params, constants, static = _split(name, model)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(params)}
    if any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in dtypes):
        refuse(name, "have real parameters", "has complex ones")
    x, y = as_array("x", x, ndim=2), as_array("y", y, ndim=2)
    if len(x) != len(y):
        refuse("y", f"have one row for each of the {len(x)} samples of `x`", f"has shape {y.shape}")
    if isinstance(model, Perceptron):
        x = as_array("x", x, shape=(None, model.weights[0].shape[1]))
    if len(dtypes) == 1:
        x, y = x.astype(min(dtypes)), y.astype(min(dtypes))
    try:
        out = _predict.eval_shape(static, params, constants, x)
    except Exception as error:
        refuse(name, f"take one sample of shape {x.shape[1:]}", f"fails with {type(error).__name__}: {error}")
    if not hasattr(out, "shape") or not jnp.issubdtype(out.dtype, jnp.floating):
        refuse(name, "predict a real array", f"predicts {out!r:.60}")
    if out.shape != y.shape:
        refuse("y", f"have the shape {out.shape} of the predictions", f"has shape {y.shape}")
    if loss is binary_cross_entropy:
        _check_fraction("y", y)
    value = _lose.eval_shape(loss, out, y)
    if not hasattr(value, "shape") or value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        what = f"{value.dtype} of shape {value.shape}" if hasattr(value, "shape") else f"a {type(value).__name__}"
        refuse("loss", "return a real scalar", f"returns {what}")
    return x, y
