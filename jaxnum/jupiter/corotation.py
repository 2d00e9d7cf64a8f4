"""Corotation breakdown with a given conductance: how far out the planet can keep its plasma turning.

    x w' = K Σ f b (1 - w) - 2w      (Hill-Pontius; w = ω/Ω, f flux, b field, K of the `System`)

Two digits traps lie in it. Near the planet 1 - w is 1e-3, so integrating w loses three digits of the current; and the
equation relaxes fast there, so a derivative taken from its right-hand side multiplies the error of w by up to 2000.
Both vanish in the variable

    p = d ln(1 - w) / d ln x,    dp/ds = -(p + 2 + g) p - dg/ds,    g = K Σ f b,  s = ln x

from which 1 - w = 2/(p + 2 + g) follows without a difference of nearly equal numbers, and with it the radial current
I = I₀ Σ f (1 - w) and its derivative, the current density j = c₀ Σ (1 - w) (f p/x² - b)/b. The solution wanted is the
one that is bounded toward the planet; the integration starts a little inside the inner edge and forgets where.

References:
    Hill (1979), https://doi.org/10.1029/JA084iA11p06554; Pontius (1997), https://doi.org/10.1029/97JA00289
"""

from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_count, check_positive, refuse
from jaxnum._precision import check_tolerance
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum._typing import is_traced
from jaxnum.jupiter.conductance import Constant
from jaxnum.jupiter.fields import log_product, strength
from jaxnum.jupiter.system import check_record, check_system, in_one_dtype

_MAX_STEPS = 1 << 14
_GAUSS = np.polynomial.legendre.leggauss(4)


def corotation(
    system: Any,
    field: Any,
    sigma: ArrayLike | Constant,
    *,
    x0: float = 5.0,
    x1: float = 100.0,
    rtol: float = 1e-10,
    atol: float = 1e-10,
    num_points: int = 381,
    adjoint: diffrax.AbstractAdjoint | None = None,
) -> Solution:
    """Return angular velocity and currents of a magnetosphere with constant conductance.

    Integrated outward with Diffrax (Dopri8). Differentiable in every physical number, forward and reverse. Not meant
    for a conductance that answers to the current: that is a two-point problem, see `sweeps`.

    Args:
        system: Planet.
        field: Magnetic field: `Dipole()`, `CurrentSheet()`, or anything with `flux(x)`.
        sigma: Effective Pedersen conductance of one hemisphere in mho, or `Constant(sigma)`.
        x0: Inner edge in planetary radii; the field is also asked for a little inside of it.
        x1: Outer edge in planetary radii.
        rtol: Relative tolerance of the integration.
        atol: Absolute tolerance of the integration.
        num_points: Number of evenly spaced points in `history`.
        adjoint: How Diffrax differentiates; by default `diffrax.DirectAdjoint()`, which serves both modes.

    Returns:
        Solution with `value` = ω/Ω at the points; `history` holds x (planetary radii), omega (ω/Ω), current (A, both
        hemispheres), current_density (A/m², just above the ionosphere, upward positive) and conductance (mho), each
        (num_points,). `residual` is the largest imbalance of angular momentum over an interval of the history,
        relative to the largest w x².

    Raises:
        ValueError: If an argument is not what it should be.
        jaxnum.PrecisionError: If a tolerance is below what the dtype can hold.

    Example:
        >>> from jaxnum.jupiter import JUPITER, Dipole, corotation
        >>> solution = corotation(JUPITER, Dipole(), 0.05)
        >>> print(f"{solution.history.current.max() / 1e6:.3f} MA")
        6.928 MA
    """
    check_system(system)
    check_record("field", field, "flux")
    if not isinstance(sigma, Constant):
        check_positive("sigma", sigma)
        sigma = Constant(sigma)
    check_record("sigma", sigma, "value")
    check_positive("sigma.sigma", sigma.sigma)
    check_range(x0, x1)
    num_points = as_count("num_points", num_points, at_least=2)
    if adjoint is None:
        adjoint = diffrax.DirectAdjoint()
    elif not isinstance(adjoint, diffrax.AbstractAdjoint):
        refuse("adjoint", "be one of Diffrax's adjoints", f"is {type(adjoint).__name__}")
    system, field, sigma, x0, x1 = in_one_dtype(system, field, sigma, x0, x1)
    check_tolerance("rtol", rtol, x0.dtype)
    check_tolerance("atol", atol, x0.dtype)
    return _solve(system, field, sigma.sigma, x0, x1, rtol, atol, num_points, adjoint)


def check_range(x0: Any, x1: Any) -> None:
    """Refuse an empty or backward range of distances."""
    check_positive("x0", x0)
    check_positive("x1", x1)
    if not is_traced((x0, x1)) and not x0 < x1:
        refuse("x1", f"lie outside `x0`, {float(x0):g}", f"is {float(x1):g}")


def grip(system: Any, field: Any, sigma: Array, s: Array) -> Array:
    """Return g = K Σ f b at s = ln x."""
    return system.coupling * sigma * jnp.exp(log_product(field, s))


def lag_slope(s: Array, p: Array, args: Any) -> Array:
    """Return dp/ds for p = d ln(1 - w)/d ln x, with constant conductance."""
    system, field, sigma = args
    g, dg = jax.jvp(partial(grip, system, field, sigma), (s,), (jnp.ones_like(s),))
    return -(p + 2 + g) * p - dg


def slow_manifold(g: Array, dg: Array) -> Array:
    """Return the p that would not change: the stable root of (p + 2 + g) p + dg/ds = 0."""
    return -2 * dg / (2 + g + jnp.sqrt((2 + g) ** 2 - 4 * dg))


@partial(jax.jit, static_argnames=("num_points", "adjoint"))
def _solve(system, field, sigma, x0, x1, rtol, atol, num_points, adjoint):
    dtype = x0.dtype
    x = jnp.linspace(x0, x1, num_points)
    s = jnp.log(x)
    # Angular momentum is checked between the points by Gauss quadrature, so the solution is wanted there too.
    nodes, weights = (jnp.asarray(a, dtype) for a in _GAUSS)
    half = (s[1:] - s[:-1]) / 2
    inner = (s[:-1] + half)[:, None] + half[:, None] * nodes[None, :]
    times = jnp.append(jnp.concatenate([s[:-1, None], inner], axis=1).ravel(), s[-1])
    # An error of the start fades as exp(-∫g ds) and g falls like x⁻⁴, so this far inside 40 e-foldings are left for it.
    # What is forgotten has no derivative either.
    start = jax.lax.stop_gradient(s[0] - jnp.log1p(160 / grip(system, field, sigma, s[0])) / 4)
    g, dg = jax.jvp(partial(grip, system, field, sigma), (start,), (jnp.ones_like(start),))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lag_slope),
        diffrax.Dopri8(),
        start,
        s[-1],
        None,
        slow_manifold(g, dg),
        args=(system, field, sigma),
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=_MAX_STEPS,
        adjoint=adjoint,
        throw=False,
    )
    g = jax.vmap(partial(grip, system, field, sigma))(times)
    lag = 2 / (solution.ys + 2 + g)
    omega = (solution.ys + g) * lag / 2

    def at_points(y):
        return y[::5]

    def between(y):
        return y[:-1].reshape(-1, 5)[:, 1:]

    # x² w grows by the integral of x² g (1 - w) d ln x: Jupiter's torque against the outflow.
    gained = half * (between(jnp.exp(2 * times) * g * lag) @ weights)
    carried = x**2 * at_points(omega)
    residual = jnp.max(jnp.abs(carried[1:] - carried[:-1] - gained)) / jnp.max(jnp.abs(carried))
    f, b = field.flux(x), strength(field, x)
    u, p = at_points(lag), at_points(solution.ys)
    history = History(
        x=x,
        omega=at_points(omega),
        current=system.current_scale * sigma * f * u,
        current_density=system.current_density_scale * sigma * u * (f * p / (x**2 * b) - 1),
        conductance=jnp.broadcast_to(sigma, x.shape),
    )
    status = Status.first(
        (solution.result == diffrax.RESULTS.max_steps_reached, Status.max_steps),
        (~jnp.all(jnp.isfinite(solution.ys)), Status.nonfinite),
        (residual > 1e4 * jnp.maximum(rtol, atol), Status.not_converged),
    )
    return Solution(history.omega, history, residual, solution.stats["num_steps"], status)
