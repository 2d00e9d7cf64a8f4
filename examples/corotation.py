"""How the peak radial current of Jupiter depends on outflow and conductance: derivative against scaling law."""

import jax
import jax.numpy as jnp

import jaxnum
from jaxnum.jupiter import JUPITER, Dipole, System, corotation, exact


def log_peak_current(log_conductance, log_loading, field):
    """Return the logarithm of the largest radial current in A, once to be differentiated and once to be kept."""
    system = System(JUPITER.field_strength, JUPITER.radius, JUPITER.spin, jnp.exp(log_loading))
    current = corotation(system, field, jnp.exp(log_conductance)).history.current
    # A parabola through the three highest points finds the peak between them, and keeps the derivative smooth.
    i = jnp.clip(jnp.argmax(current), 1, current.size - 2)
    left, top, right = current[i - 1], current[i], current[i + 1]
    peak = jnp.log(top + (right - left) ** 2 / (8 * (2 * top - left - right)))
    return peak, peak


def main():
    """Print the peak current and its exponents in conductance and outflow, beside those of the closed form."""
    jaxnum.enable_x64()
    at = jnp.log(0.05), jnp.log(1000.0)
    # Two inputs and one output: forward mode costs little more, and compiles faster, than reverse.
    slopes, peak = jax.jit(jax.jacfwd(log_peak_current, argnums=(0, 1), has_aux=True))(*at, Dipole())
    sigma, loading = (float(s) for s in slopes)
    print(f"integrated   {jnp.exp(peak) / 1e6:.4f} MA, grows as conductance^{sigma:.4f} outflow^{loading:.4f}")
    scale = exact.PEAK_CURRENT * JUPITER.current_scale * 0.05 / exact.hill_distance(JUPITER, 0.05)
    print(f"closed form  {scale / 1e6:.4f} MA, grows as conductance^0.75   outflow^0.25")
    return slopes


if __name__ == "__main__":
    main()
