"""Solutions in closed form: the truth that tests, benchmarks and diagnoses use.

`x` is an array of positions and `t` a number; use `jax.vmap` for many times. Where mass and ħ are not arguments, both
are one. As in `gaussian_packet`, `momentum` is a wave number: the momentum divided by ħ.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, as_count, check_finite, check_positive, refuse
from jaxnum._typing import is_traced
from jaxnum.schrodinger.cayley import CAYLEY, Cayley, pade_roots
from jaxnum.schrodinger.grid import Grid, check_grid


def free_packet(
    x: ArrayLike,
    t: ArrayLike,
    *,
    center: ArrayLike = 0.0,
    sigma: ArrayLike = 1.0,
    momentum: ArrayLike = 0.0,
    chirp: ArrayLike = 0.0,
    mass: ArrayLike = 1.0,
    hbar: ArrayLike = 1.0,
) -> Array:
    """Return the free Gaussian packet that starts as `gaussian_packet` at t = 0, or one that was focused or spread.

    Its center moves at ħk₀/m and its width grows as σ (1 + (ħ(t + c)/2mσ²)²)^½; |ψ|² has a single peak at all times.

    Args:
        x: Positions.
        t: Time.
        center: Mean position at t = 0.
        sigma: Standard deviation of |ψ|² where it is smallest: at t = 0 without a chirp.
        momentum: Mean wave number k₀.
        chirp: Time c for which the packet has been spreading at t = 0; with a negative one it contracts until t = -c.
        mass: Particle mass.
        hbar: Reduced Planck constant.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum.schrodinger import exact
        >>> print(f"{abs(exact.free_packet(jnp.array([1.0]), 1.0, momentum=1.0)[0]) ** 2:.4f}")
        0.3568
    """
    x, center, sigma, momentum, chirp, mass, hbar, t = _reals(
        x,
        center=center,
        sigma=sigma,
        momentum=momentum,
        chirp=chirp,
        mass=mass,
        hbar=hbar,
        t=t,
        positive=("sigma", "mass", "hbar"),
    )
    packet, _, _ = _free(x, t, center, sigma, momentum, mass, hbar, chirp)
    return packet


def coherent_state(
    x: ArrayLike,
    t: ArrayLike,
    *,
    center: ArrayLike = 0.0,
    momentum: ArrayLike = 0.0,
    frequency: ArrayLike = 1.0,
    mass: ArrayLike = 1.0,
    hbar: ArrayLike = 1.0,
) -> Array:
    """Return the packet that swings in V = m ω² x²/2 without changing its shape; σ² = ħ/2mω.

    It starts at `center` with wave number `momentum`; after one period it is back with the opposite sign.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum.schrodinger import exact
        >>> x = jnp.array([2.5])
        >>> once, again = (exact.coherent_state(x, t, center=3.0) for t in (0.0, 2 * jnp.pi))
        >>> print(abs(once + again) < 1e-14)
        [ True]
    """
    for name, value in {"frequency": frequency, "mass": mass, "hbar": hbar}.items():
        check_positive(name, value)
    sigma = (hbar / (2 * mass * frequency)) ** 0.5
    return squeezed_state(
        x, t, center=center, sigma=sigma, momentum=momentum, frequency=frequency, mass=mass, hbar=hbar
    )


def squeezed_state(
    x: ArrayLike,
    t: ArrayLike,
    *,
    center: ArrayLike = 0.0,
    sigma: ArrayLike = 1.0,
    momentum: ArrayLike = 0.0,
    frequency: ArrayLike = 1.0,
    mass: ArrayLike = 1.0,
    hbar: ArrayLike = 1.0,
) -> Array:
    """Return the packet that swings and breathes in V = m ω² x²/2, starting as `gaussian_packet`."""
    x, center, sigma, momentum, frequency, mass, hbar, t = _reals(
        x,
        center=center,
        sigma=sigma,
        momentum=momentum,
        frequency=frequency,
        mass=mass,
        hbar=hbar,
        t=t,
        positive=("sigma", "frequency", "mass", "hbar"),
    )
    cos, sin = jnp.cos(frequency * t), jnp.sin(frequency * t)
    k0 = momentum
    x_c = center * cos + hbar * k0 / (mass * frequency) * sin
    k_c = k0 * cos - mass * frequency / hbar * center * sin
    ratio = hbar / (2 * mass * sigma**2 * frequency)
    b = jax.lax.complex(cos, ratio * sin)
    slope = jax.lax.complex(-frequency * sin, frequency * ratio * cos)
    # The square root follows b around the origin: arg b is never further than a right angle from ωt.
    lead = jnp.arctan2(ratio * sin, cos) - frequency * t
    angle = frequency * t + lead - 2 * jnp.pi * jnp.round(lead / (2 * jnp.pi))
    scale = (2 * jnp.pi * sigma**2) ** -0.25 * jnp.abs(b) ** -0.5
    spread = ((0.5 * mass / hbar).astype(b.dtype) * 1j * slope / b) * ((x - x_c) ** 2).astype(b.dtype)
    return scale.astype(b.dtype) * jnp.exp(spread + _i(k_c * (x - x_c) + (k_c * x_c - k0 * center) / 2 - angle / 2))


def driven_oscillator(
    x: ArrayLike,
    t: ArrayLike,
    *,
    force: ArrayLike,
    drive: ArrayLike,
    center: ArrayLike = 0.0,
    momentum: ArrayLike = 0.0,
    frequency: ArrayLike = 1.0,
) -> Array:
    """Return the coherent state in V = ω² x²/2 - F x cos Ωt, off resonance.

    Args:
        x: Positions.
        t: Time.
        force: Amplitude F.
        drive: Angular frequency Ω of the drive; it must differ from `frequency`.
        center: Mean position at t = 0.
        momentum: Mean momentum at t = 0.
        frequency: Angular frequency ω of the oscillator.
    """
    x, force, drive, center, momentum, frequency, t = _reals(
        x, force=force, drive=drive, center=center, momentum=momentum, frequency=frequency, t=t, positive=("frequency",)
    )
    if not is_traced((drive, frequency)) and float(drive) == float(frequency):
        refuse("drive", "differ from `frequency`", f"is {float(drive):g} as well")
    w, d = frequency, drive
    cos, sin, gain = jnp.cos(w * t), jnp.sin(w * t), force / (w**2 - d**2)
    x_c = center * cos + momentum / w * sin + gain * (jnp.cos(d * t) - cos)
    p_c = -w * center * sin + momentum * cos + gain * (w * sin - d * jnp.sin(d * t))

    def of_cos(a):  # integral of cos(as) from 0 to t
        return t * jnp.sinc(a * t / jnp.pi)

    def of_sin(a):
        return t * jnp.sin(a * t / 2) * jnp.sinc(a * t / (2 * jnp.pi))

    # S = ∫(p²/2 - w²x²/2 + Fx) = [xp]/2 + ½∫Fx along the classical path.
    of_force = (center - gain) * (of_cos(d + w) + of_cos(d - w)) / 2
    of_force += momentum / w * (of_sin(w + d) + of_sin(w - d)) / 2 + gain * (t + of_cos(2 * d)) / 2
    action = (x_c * p_c - center * momentum + force * of_force) / 2
    height = (w / jnp.pi) ** 0.25 * jnp.exp(-w * (x - x_c) ** 2 / 2)
    phase = p_c * (x - x_c) + action - w * t / 2
    return jax.lax.complex(height * jnp.cos(phase), height * jnp.sin(phase))


def poschl_teller_packet(
    x: ArrayLike,
    t: ArrayLike,
    *,
    depth: int = 1,
    center: ArrayLike = 0.0,
    sigma: ArrayLike = 1.0,
    momentum: ArrayLike = 0.0,
) -> Array:
    """Return a packet of norm one that crosses the reflectionless well V = -λ(λ+1)/2 sech² x, λ = `depth` = 1 or 2.

    Derived from a free Gaussian by one or two steps of the factorization (tanh x - ∂/∂x): exact at all times, with
    the delay in the well.
    """
    x, center, sigma, momentum, t = _reals(x, center=center, sigma=sigma, momentum=momentum, t=t, positive=("sigma",))
    if depth not in (1, 2):
        refuse("depth", "be 1 or 2", f"is {depth!r}")
    one = jnp.ones_like(sigma)
    packet, q, dq = _free(x, t, center, sigma, momentum, one, one, jnp.zeros_like(sigma))
    tanh = jnp.tanh(x)
    variance = 1 / (4 * sigma**2)
    second = momentum**2 + variance
    if depth == 1:
        return (tanh.astype(q.dtype) - q) * packet / jnp.sqrt(second + 1).astype(q.dtype)
    fourth = momentum**4 + 6 * momentum**2 * variance + 3 * variance**2
    factor = (3 * tanh**2 - 1).astype(q.dtype) - 3 * tanh.astype(q.dtype) * q + q**2 + dq
    return factor * packet / jnp.sqrt(fourth + 5 * second + 4).astype(q.dtype)


def poschl_teller_transmission(k: ArrayLike, v0: ArrayLike) -> Array:
    """Return the probability that a wave of wave number `k` crosses V = -v0 sech² x.

    Example:
        >>> from jaxnum.schrodinger import exact
        >>> print(exact.poschl_teller_transmission([0.5, 1.0], 3.0))
        [1. 1.]
    """
    k, v0 = _reals(k, v0=v0, name="k")
    root = 0.5 * jnp.pi * jnp.sqrt(jnp.abs(1 + 8 * v0))
    height = jnp.where(1 + 8 * v0 >= 0, jnp.cos(root), jnp.cosh(root)) ** 2
    # sinh and cosh of πk overflow long before their ratio means anything else than one.
    tanh = jnp.tanh(jnp.pi * k)
    return tanh**2 / (tanh**2 + height * jnp.exp(-2 * _log_cosh(jnp.pi * k)))


def barrier_transmission(energy: ArrayLike, v0: ArrayLike, width: ArrayLike) -> Array:
    """Return the probability that a particle of `energy` crosses a square barrier (or well) of height `v0`.

    Example:
        >>> from jaxnum.schrodinger import exact
        >>> print(f"{exact.barrier_transmission(1.0, 1.0, 2.0):.6f}")
        0.333333
    """
    energy, v0, width = _reals(energy, v0=v0, width=width, name="energy", positive=("width",))
    if not is_traced(energy) and not (np.asarray(energy) > 0).all():
        refuse("energy", "be positive", f"holds {float(jnp.min(energy)):g}")
    y = 2 * (v0 - energy) * width**2
    # (sinh √y/√y)², of which (sin √-y/√-y)² is the continuation; near zero by its series 1 + y/3 + 2y²/45.
    near = jnp.abs(y) < 1e-3
    root = jnp.sqrt(jnp.where(near, 1.0, jnp.abs(y)))
    inside = jnp.where(y > 0, jnp.sinh(root), jnp.sin(root)) ** 2 / root**2
    inside = jnp.where(near, 1 + y / 3 + 2 * y**2 / 45 + y**3 / 315, inside)
    return 1 / (1 + v0**2 * width**2 / (2 * energy) * inside)


def bright_soliton(x: ArrayLike, t: ArrayLike, *, height: ArrayLike = 1.0, velocity: ArrayLike = 0.0) -> Array:
    """Return the soliton η sech(η(x - vt)) of i ψ_t = -ψ_xx/2 - |ψ|²ψ, of height η and velocity v."""
    x, height, velocity, t = _reals(x, height=height, velocity=velocity, t=t, positive=("height",))
    phase = velocity * x + (height**2 - velocity**2) * t / 2
    size = height * jnp.exp(-_log_cosh(height * (x - velocity * t)))
    return jax.lax.complex(size * jnp.cos(phase), size * jnp.sin(phase))


def dark_soliton(x: ArrayLike, t: ArrayLike, *, density: ArrayLike = 1.0, velocity: ArrayLike = 0.0) -> Array:
    """Return the dip in a background of `density` that i ψ_t = -ψ_xx/2 + |ψ|²ψ carries along; v² < density."""
    x, density, velocity, t = _reals(x, density=density, velocity=velocity, t=t, positive=("density",))
    if not is_traced((density, velocity)) and not float(velocity) ** 2 < float(density):
        refuse("velocity", "be below the speed of sound, density^½", f"is {float(velocity):g}")
    root = jnp.sqrt(density)
    b = velocity / root
    a = jnp.sqrt(1 - b**2)
    dip = jax.lax.complex(a * jnp.tanh(a * root * (x - velocity * t)), jnp.broadcast_to(b, x.shape))
    return root.astype(dip.dtype) * dip * jnp.exp(_i(-density * t))


def box_mode_phase(
    mode: int,
    grid: Grid,
    dt: ArrayLike,
    *,
    method: Cayley = CAYLEY,
    mass: ArrayLike = 1.0,
    hbar: ArrayLike = 1.0,
) -> Array:
    """Return the phase in radians by which one step turns a mode sin(πkj/(n-1)) between walls: exact on the grid.

    Each mode of the box is an eigenvector of the scheme, so that a propagation can be held to rounding.

    Example:
        >>> from jaxnum.schrodinger import Cayley, Grid, exact
        >>> print(f"{exact.box_mode_phase(1, Grid(0.0, 1.0, 101), 0.01, method=Cayley(2, 2)):.6f}")
        -0.049334
    """
    mode = as_count("mode", mode)
    check_grid(grid)
    if mode > grid.num_points - 2:
        refuse("mode", f"be at most {grid.num_points - 2}, the number of points between the walls", f"is {mode}")
    if not isinstance(method, Cayley):
        refuse("method", "be a `Cayley(time_order, space_order)`", f"is {method!r}")
    for name, value in {"dt": dt, "mass": mass, "hbar": hbar}.items():
        check_positive(name, value)
    angle = jnp.pi * mode / (grid.num_points - 1)
    symbol = 2 * jnp.sin(jnp.asarray(angle) / 2) ** 2  # 1 - cos without its cancellation
    energy = hbar**2 / (mass * grid.dx**2) * (symbol if method.space_order == 2 else symbol / (1 - symbol / 6))
    w = _i(-dt * energy / hbar)
    roots = jnp.asarray(pade_roots(method.time_order), w.dtype)
    return jnp.sum(jnp.angle(1 - w / roots) - jnp.angle(1 + w / roots))


def _reals(x: Any, *, name: str = "x", positive: tuple[str, ...] = (), **numbers: Any) -> tuple[Array, ...]:
    """Return positions and numbers in the dtype of the positions, checked by name."""
    x = as_array(name, x)
    for key, value in numbers.items():
        (check_positive if key in positive else check_finite)(key, value)
    return x, *(jnp.asarray(value, x.dtype) for value in numbers.values())


def _i(angle: Array) -> Array:
    """Return i times a real array."""
    return jax.lax.complex(jnp.zeros_like(angle), angle)


def _log_cosh(x: Array) -> Array:
    return jnp.logaddexp(x, -x) - float(np.log(2))


def _free(x, t, center, sigma, momentum, mass, hbar, chirp) -> tuple[Array, Array, Array]:
    """Return a free packet φ with q = φ'/φ and q'."""
    rate = hbar * (t + chirp) / (2 * mass * sigma**2)
    complex_sigma = jax.lax.complex(sigma, sigma * rate)
    dtype = complex_sigma.dtype
    moved = (x - center - hbar * momentum / mass * t).astype(dtype)
    spread = -(moved**2) / (4 * sigma.astype(dtype) * complex_sigma)
    phase = _i(momentum * (x - center) - hbar * momentum**2 * t / (2 * mass))
    packet = float((2 * np.pi) ** -0.25) / jnp.sqrt(complex_sigma) * jnp.exp(spread + phase)
    slope = -1 / (2 * sigma.astype(dtype) * complex_sigma)
    return packet, slope * moved + _i(momentum), slope
