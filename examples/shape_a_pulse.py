"""Shape a laser pulse that lifts an electron to the first excited state; `--out DIR` keeps the figure."""

import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxnum
from jaxnum.optimize import adam
from jaxnum.plot import canvas
from jaxnum.schrodinger import Grid, overlap, propagate, stationary_states

DURATION, FREQUENCY = 20.0, 1.934  # of the pulse, and of the transition
HARMONICS = FREQUENCY + 2 * np.pi / DURATION * np.arange(-3, 4)


def laser(x, t, shape):
    """Anharmonic well, and a field in length gauge: an envelope times waves with `shape` (2, 7) as amplitudes."""
    waves = jnp.stack([jnp.cos(HARMONICS * t), jnp.sin(HARMONICS * t)])
    return x**2 / 2 + x**4 - jnp.sin(jnp.pi * t / DURATION) ** 2 * jnp.sum(shape * waves) * x


def probabilities(shape, num_points=81, num_steps=200, save_every=None):
    """Return times and, at each of them, the probabilities of the three lowest states."""
    grid = Grid(-4.0, 4.0, num_points)
    _, states = stationary_states(grid.x**2 / 2 + grid.x**4, grid, num_states=3, space_order=4)
    run = propagate(states[0], laser, grid, t1=DURATION, num_steps=num_steps, args=shape, save_every=save_every)
    amplitudes = jnp.stack([overlap(state[None], run.history.psi, grid) for state in states])
    return run.history.t, amplitudes.real**2 + amplitudes.imag**2


def main(out=None):
    """Climb the gradient of the fidelity through the whole run; print, check on a finer grid, and draw."""
    jaxnum.enable_x64()
    start = shape = jnp.zeros((2, 7)).at[0, 3].set(0.62)  # half a Rabi cycle, if there were two states
    optimizer, climb = adam(0.06), jax.jit(jax.value_and_grad(lambda shape: 1 - probabilities(shape)[1][1, -1]))
    memory = optimizer.init(shape)
    for n in range(61):
        missing, slope = climb(shape)
        print(f"after {n:2} steps: fidelity {1 - missing:.5f}\n" * (n % 10 == 0), end="")
        change, memory = optimizer.update(slope, memory)
        shape = shape + change
    t, rows = probabilities(shape, 121, 400, 4)
    print(f"on half as many points again, in twice the steps: {rows[1, -1]:.5f}")
    figure, (top, bottom) = canvas.figure(2, 1, sharex=True)
    for name, s in (("first guess", start), ("shaped", shape)):
        top.plot(t, [-float(laser(1.0, time, s)) + 1.5 for time in t], label=name)  # V falls by the field at x = 1
    bottom.plot(t, rows.T, label=[f"state {number}" for number in range(3)])
    top.legend(title="electric field")
    bottom.legend(title="probability")
    bottom.set(xlabel="time t")
    figure.savefig(Path(out or tempfile.mkdtemp()) / "shape_a_pulse.png")


if __name__ == "__main__":
    main(*sys.argv[2:3] if sys.argv[1:2] == ["--out"] else [])
