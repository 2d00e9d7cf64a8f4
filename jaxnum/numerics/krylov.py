"""Krylov: the ends of a spectrum from products with vectors alone.

Lanczos (symmetric A):  A V_m = V_m T_m + β_m v_{m+1} e_mᵀ,  T_m tridiagonal
Arnoldi (any A):        A V_m = V_m H_m + h_{m+1,m} v_{m+1} e_mᵀ,  H_m upper Hessenberg

Both with full reorthogonalization: without it Lanczos reports copies of converged eigenvalues, and the power method
finds the eigenvalue of largest magnitude only, which at a saddle is often the wrong end.

References:
    Saad, Numerical Methods for Large Eigenvalue Problems (2011), https://doi.org/10.1137/1.9781611970739
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Ends(NamedTuple):
    """Both ends of a symmetric spectrum, with the error bounds that Lanczos gives for free."""

    smallest: Array
    largest: Array
    smallest_vector: Array
    largest_vector: Array
    residual: Array
    """Larger of the two ‖A v − λ v‖: each λ is that close to a true eigenvalue."""


def arnoldi(
    product: Callable[[Array], Array], start: Float[Array, " n"], num_steps: int
) -> tuple[Float[Array, "m+1 n"], Float[Array, "m+1 m"]]:
    """Return an orthonormal Krylov basis (rows) and the Hessenberg matrix of `product` in it.

    Args:
        product: Linear function v -> A v.
        start: First vector, not zero.
        num_steps: Size of the basis; at most the length of `start`.
    """
    n = start.shape[0]
    m = min(num_steps, n)
    basis = jnp.zeros((m + 1, n), start.dtype).at[0].set(start / jnp.linalg.norm(start))
    hessenberg = jnp.zeros((m + 1, m), start.dtype)
    tiny = jnp.finfo(start.dtype).eps

    def body(carry, j):
        basis, hessenberg = carry
        w = product(basis[j])
        scale = jnp.linalg.norm(w)
        h = basis @ w  # rows beyond j are still zero, so this is classical Gram-Schmidt
        w = w - h @ basis
        again = basis @ w  # once more: "twice is enough" (Kahan) for orthogonality to rounding
        w = w - again @ basis
        length = jnp.linalg.norm(w)
        # A zero remainder means the space is invariant; what follows would be normalized rounding noise.
        ends = length <= 10 * tiny * scale
        w = jnp.where(ends, jnp.zeros_like(w), w / jnp.where(ends, jnp.ones_like(length), length))
        h = (h + again).at[j + 1].set(jnp.where(ends, jnp.zeros_like(length), length))
        return (basis.at[j + 1].set(w), hessenberg.at[:, j].set(h)), None

    (basis, hessenberg), _ = jax.lax.scan(body, (basis, hessenberg), jnp.arange(m))
    return basis, hessenberg


def lanczos_ends(product: Callable[[Array], Array], start: Float[Array, " n"], num_steps: int) -> Ends:
    """Return both ends of the spectrum of a symmetric `product`, their vectors and an error bound.

    Args:
        product: Symmetric linear function v -> A v, for example a Hessian-vector product.
        start: First vector, not orthogonal to the eigenvectors wanted; a random one is safe.
        num_steps: Size of the Krylov space; the length of `start` makes it exact.
    """
    basis, hessenberg = arnoldi(product, start, num_steps)
    square = hessenberg[:-1]
    m = square.shape[0]
    # An early invariant space leaves zero rows; push them out of the way instead of reporting zero eigenvalues.
    alive = jnp.linalg.norm(basis[:m], axis=1) > 0.5
    symmetric = (square + square.T) / 2
    middle = jnp.where(alive, jnp.diagonal(symmetric), 0.0).sum() / alive.sum(dtype=symmetric.dtype)
    symmetric = jnp.where(alive[:, None] & alive[None, :], symmetric, 0.0)
    symmetric = symmetric + jnp.diag(jnp.where(alive, jnp.zeros_like(middle), middle))
    values, vectors = jnp.linalg.eigh(symmetric)
    ritz = jnp.stack([vectors[:, 0], vectors[:, -1]]) @ basis[:m]
    ends = jnp.stack([values[0], values[-1]])
    errors = jnp.stack([jnp.linalg.norm(product(v) - e * v) for v, e in zip(ritz, ends, strict=True)])
    return Ends(values[0], values[-1], ritz[0], ritz[1], jnp.max(errors))


def dominant_modes(product: Callable[[Array], Array], start: Float[Array, " n"], num_steps: int) -> tuple[Array, Array]:
    """Return Ritz values (complex) of any linear `product`, largest magnitude first, and their vectors as columns.

    The eigenvalues of a general matrix are found on the host: JAX has no non-symmetric solver on a GPU.
    """
    import numpy as np

    basis, hessenberg = arnoldi(product, start, num_steps)
    square, basis = np.asarray(hessenberg)[:-1], np.asarray(basis)
    alive = np.linalg.norm(basis[:-1], axis=1) > 0.5
    values, vectors = np.linalg.eig(square[np.ix_(alive, alive)])
    order = np.argsort(-np.abs(values))
    return values[order], basis[:-1][alive].T @ vectors[:, order]
