"""Multilayer perceptrons: linear maps with a bend between them.

    a_0 = x,    a_l = σ(W_l a_{l-1} + b_l)  (l < L),    prediction = σ_L(W_L a_{L-1} + b_L)

The weights start as normal numbers of variance 1/(inputs of the layer), so that a layer neither swells nor fades what
passes through it; the biases start at zero. Different numbers matter: units that start equal stay equal.

Reference:
    LeCun, Bottou, Orr & Müller (1998), Efficient BackProp, https://doi.org/10.1007/3-540-49430-8_2
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnum._checks import as_array, as_count, refuse


class Perceptron(eqx.Module):
    """A multilayer perceptron; make one with `perceptron`.

    Attributes:
        weights: One matrix per layer, of shape (outputs, inputs).
        biases: One vector per layer, of shape (outputs,); an empty tuple for a network without biases.
        activation: Applied to each layer but the last.
        final_activation: Applied to the last layer.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activation: Callable[[Array], Array] = eqx.field(static=True)
    final_activation: Callable[[Array], Array] = eqx.field(static=True)

    def __call__(self, x: Any) -> Array:
        """Return the prediction for one sample; use `jax.vmap(model)(x)` for a batch of shape (samples, features).

        Args:
            x: Features, shape (features,); taken in the dtype of the weights.

        Returns:
            Prediction, shape (outputs,).

        Raises:
            ValueError: If `x` is not one finite, real sample with the right number of features.
        """
        x = as_array("x", x)
        num_in = self.weights[0].shape[-1]
        if x.ndim == 2 and x.shape[1] == num_in:
            refuse("x", f"have shape ({num_in},)", f"has shape {x.shape}; use `jax.vmap(model)(x)` for a batch")
        a = as_array("x", x, shape=(num_in,)).astype(self.weights[0].dtype)
        last = len(self.weights) - 1
        for layer, weight in enumerate(self.weights):
            z = weight @ a
            if self.biases:
                z = z + self.biases[layer]
            a = self.final_activation(z) if layer == last else self.activation(z)
        return a


def perceptron(
    sizes: Sequence[int],
    *,
    activation: Callable[[Array], Array] = jax.nn.sigmoid,
    final_activation: Callable[[Array], Array] = jax.nn.sigmoid,
    use_bias: bool = True,
    key: Array,
) -> Perceptron:
    """Make a multilayer perceptron with random weights.

    Args:
        sizes: Number of features, units of each hidden layer, number of outputs: `(2, 3, 1)` has one hidden layer.
        activation: Elementwise function after each layer but the last.
        final_activation: Elementwise function after the last layer. Networks share a compilation when their
            functions are the same objects: build a lambda once.
        use_bias: Whether each layer adds a vector.
        key: Random key, as from `jax.random.key(0)`.

    Returns:
        Equinox module, callable on one sample of shape (features,); `jax.vmap(model)(x)` takes a batch. It has the
        default dtype of JAX (float64 where x64 is on).

    Raises:
        ValueError: If `sizes` are not two or more positive integers, a function changes the shape or the kind of
            what it is given, or `key` is not one random key.

    Example:
        >>> import jax
        >>> from jaxnum.networks import perceptron
        >>> model = perceptron((2, 3, 1), key=jax.random.key(0))
        >>> jax.vmap(model)(jax.numpy.ones((4, 2))).shape
        (4, 1)
    """
    try:
        sizes = tuple(sizes)
    except TypeError:
        refuse("sizes", "be a sequence of integers such as (2, 3, 1)", f"is {sizes!r}")
    if len(sizes) < 2:
        refuse("sizes", "name at least the inputs and the outputs", f"is {sizes!r}")
    sizes = tuple(as_count(f"sizes[{i}]", n) for i, n in enumerate(sizes))
    check_elementwise("activation", activation)
    check_elementwise("final_activation", final_activation)
    if not isinstance(use_bias, bool):
        refuse("use_bias", "be True or False", f"is {use_bias!r}")
    key = as_keys("key", key, batch=False)
    keys = jax.random.split(key, len(sizes) - 1)
    layers = list(zip(keys, sizes[:-1], sizes[1:], strict=True))
    weights = tuple(jax.random.normal(k, (n_out, n_in)) / math.sqrt(n_in) for k, n_in, n_out in layers)
    biases = tuple(jnp.zeros(n_out, w.dtype) for w, n_out in zip(weights, sizes[1:], strict=True)) if use_bias else ()
    return Perceptron(weights, biases, activation, final_activation)


def predict_together(model: Perceptron, x: Array) -> Array:
    """Return the predictions of many perceptrons, whose weights and biases have a last axis of members.

    Products of matrices this small are sums of a few terms, each of which runs along the members.

    Args:
        model: Perceptron with weights (outputs, inputs, members) and biases (outputs, members).
        x: Samples, (samples, features).

    Returns:
        Predictions, (samples, outputs, members).
    """
    a, last = x[:, :, None], len(model.weights) - 1
    for layer, weight in enumerate(model.weights):
        terms = [weight[None, :, i] * a[:, i, None] for i in range(weight.shape[1])]
        if model.biases:
            terms.append(model.biases[layer][None])
        phi = model.final_activation if layer == last else model.activation
        # A function of the units of one sample in one network: it need not be elementwise.
        a = jax.vmap(jax.vmap(phi, in_axes=-1, out_axes=-1))(sum(terms[1:], terms[0]))
    return a


def check_elementwise(name: str, fn: Any) -> None:
    """Refuse what does not turn a real vector into a real vector of the same length."""
    if not callable(fn):
        refuse(name, "be a function such as `jax.nn.sigmoid`", f"is {fn!r:.60}")
    try:
        hash(fn)
    except TypeError:
        refuse(name, "be hashable", f"is a {type(fn).__name__} that is not")
    probe = jax.ShapeDtypeStruct((3,), jnp.zeros(()).dtype)
    try:
        out = jax.eval_shape(fn, probe)
    except Exception as error:
        refuse(name, "take a vector and return one like it", f"fails with {type(error).__name__}: {error}")
    if getattr(out, "shape", None) != probe.shape or not jnp.issubdtype(out.dtype, jnp.floating):
        what = f"{out.dtype} of shape {out.shape}" if hasattr(out, "shape") else f"a {type(out).__name__}"
        refuse(name, "take a vector and return one like it", f"returns {what} for shape {probe.shape}")


def as_keys(name: str, key: Any, *, batch: bool) -> Array:
    """Return one random key, or a batch of them, or refuse it by name."""
    must = (
        "be random keys such as `jax.random.split(jax.random.key(0), 8)`"
        if batch
        else "be one random key such as `jax.random.key(0)`"
    )
    dtype, ndim = getattr(key, "dtype", None), jnp.ndim(key) if hasattr(key, "dtype") else None
    if dtype is None or not hasattr(key, "shape"):
        refuse(name, must, f"is {key!r:.60}")
    if not jnp.issubdtype(dtype, jax.dtypes.prng_key):  # JAX's older keys are rows of integers
        if dtype != jnp.uint32 or not ndim:
            refuse(name, must, f"has dtype {dtype} and shape {key.shape}")
        try:
            key = jax.random.wrap_key_data(jnp.asarray(key))
        except (TypeError, ValueError):
            refuse(name, must, f"has dtype {dtype} and shape {key.shape}")
    if key.ndim != int(batch) or not key.size:
        refuse(name, must, f"has shape {key.shape}")
    return key
