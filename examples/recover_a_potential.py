"""Recover a potential, with error bars, from snapshots of |ψ|² with 1 % of noise; `--out DIR` keeps the figure."""

import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxnum
from jaxnum.plot import canvas
from jaxnum.schrodinger import Direct, Grid, gaussian_packet, propagate

GRID, X, NOISE = Grid(-12.0, 12.0, 161), np.linspace(-12.0, 12.0, 161), 0.01
PLACES = np.linspace(-4.5, 4.5, 13)
SHAPES = np.exp(-((X[:, None] - PLACES) ** 2) / (2 * 0.6**2))  # bumps that a potential is made of
TRUTH = 0.8 * np.exp(-((X - 1.5) ** 2)) - 0.9 * np.exp(-((X + 1.2) ** 2) / 1.5) + 0.4 * np.exp(-((X + 3) ** 2) / 0.8)


def snapshots(potential):
    """Return |ψ|² at twelve times for three packets: one from either side, one at rest in the middle."""
    packets = [gaussian_packet(X, center=c, sigma=0.8, momentum=k) for c, k in ((-6, 1.6), (6, -1.6), (0, 0.0))]

    def one(psi0):
        run = propagate(psi0, potential, GRID, t1=6.0, num_steps=120, save_every=10, adjoint=Direct())
        return run.history.psi.real**2 + run.history.psi.imag**2

    return jax.vmap(one)(jnp.stack(packets))


def main(out=None):
    """Fit by Gauss-Newton steps, damped less and less; print and draw the result."""
    jaxnum.enable_x64()
    clean = snapshots(TRUTH)
    size = NOISE * float(clean.max())
    data = clean + size * np.random.default_rng(1).normal(size=clean.shape)
    misfit = jax.jit(lambda c: ((snapshots(SHAPES @ c) - data) / size).ravel())
    slopes = jax.jit(jax.jacfwd(misfit))
    c = np.zeros(len(PLACES))
    for damping in 10.0 ** np.arange(2, -5, -1):
        r, j = np.asarray(misfit(c)), np.asarray(slopes(c))
        print(f"misfit {np.sqrt(np.mean(r**2)):.4f} standard deviations of the noise")
        c = c + np.linalg.solve(j.T @ j + damping * np.eye(len(c)), -j.T @ r)
    bars = np.sqrt(np.sum((SHAPES @ np.linalg.inv(j.T @ j)) * SHAPES, axis=1))
    error = np.abs(SHAPES @ c - TRUTH)[np.abs(X) < 4.5].max()
    print(f"largest error {error:.4f} of a height of {np.ptp(TRUTH):.2f}; standard errors up to {bars.max():.4f}")
    figure, ax = canvas.figure()
    ax.fill_between(X, SHAPES @ c - 3 * bars, SHAPES @ c + 3 * bars, color=canvas.SKY, label="three standard errors")
    ax.plot(X, TRUTH, color=canvas.BLACK, label="truth")
    ax.plot(X, SHAPES @ c, "--", color=canvas.RED, label="recovered")
    ax.set(xlim=(-7, 7), xlabel="position x", ylabel="potential V")
    ax.legend()
    figure.savefig(Path(out or tempfile.mkdtemp()) / "recover_a_potential.png")


if __name__ == "__main__":
    main(*sys.argv[2:3] if sys.argv[1:2] == ["--out"] else [])
