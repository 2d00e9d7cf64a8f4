"""Arrays of finished runs: every planted fault is named, and correct runs of many kinds pass in silence."""

import json

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum import diagnose
from jaxnum.schrodinger import exact

N = 401
X = np.linspace(-20.0, 20.0, N)
DX = X[1] - X[0]
T = np.linspace(0.0, 3.0, 31)
PARABOLA = X**2 / 2


def rows(state, t=T, x=X, **options):
    return np.asarray(jax.jit(jax.vmap(lambda s: state(x, s, **options)))(t))


def run(psi0, v=0.0, *, x=X, t1=3.0, steps=300, save=10, kinetic=1.0, dt_factor=1.0, periodic=False, step=None):
    """Propagate with dense Crank-Nicolson matrices, as a script would; faults come in through the keywords."""
    n, dx = len(x), (x[-1] - x[0]) / (len(x) - 1)
    h = np.diag(np.full(n, kinetic / dx**2) + v) - kinetic / (2 * dx**2) * (np.eye(n, k=1) + np.eye(n, k=-1))
    if periodic:
        h[0, -1] = h[-1, 0] = -kinetic / (2 * dx**2)
    c = 0.5j * dt_factor * t1 / steps
    u = np.linalg.solve(np.eye(n) + c * h, np.eye(n) - c * h) if step is None else step(h, c)
    out = [np.asarray(psi0, complex)]
    u = np.linalg.matrix_power(u, save)
    for _ in range(steps // save):
        out.append(u @ out[-1])
    return np.array(out), x, np.linspace(0.0, t1, steps // save + 1)


def packet(center=0.0, sigma=1.0, momentum=0.0, x=X):
    return np.asarray(exact.free_packet(x, 0.0, center=center, sigma=sigma, momentum=momentum))


def codes(found):
    return [finding.code for finding in found.findings]


def numerov_step(h, c):
    n = len(h)
    m = np.eye(n) * 10 / 12 + (np.eye(n, k=1) + np.eye(n, k=-1)) / 12
    k = h - np.diag(np.diag(h)) + np.diag(np.full(n, 1 / DX**2))
    g = k + m * (np.diag(h) - 1 / DX**2)[None, :]
    return np.linalg.solve(m + c * g, m - c * g)


RIGHT = {
    "exact, at rest": lambda: (rows(exact.free_packet), X, T),
    "exact, moving": lambda: (rows(exact.free_packet, center=-5.0, momentum=2.0), X, T),
    "exact, chirped": lambda: (rows(exact.free_packet, sigma=0.8, chirp=-1.5), X, T),
    "coherent state": lambda: (rows(exact.coherent_state, center=3.0), X, T, PARABOLA),
    "breathing": lambda: (rows(exact.squeezed_state, sigma=0.5, center=1.0), X, T, PARABOLA),
    "well": lambda: (rows(exact.poschl_teller_packet, center=-6.0, momentum=2.0), X, T, -1 / np.cosh(X) ** 2),
    "a soliton said to be one": lambda: (
        rows(exact.bright_soliton, height=1.3, velocity=1.0),
        X,
        T,
        None,
        {"nonlinearity": -1.0},
    ),
    "crank-nicolson, free": lambda: run(packet(-4.0, momentum=1.0)),
    "crank-nicolson, parabola": lambda: (*run(packet(2.0, 0.7), PARABOLA), PARABOLA),
    "numerov": lambda: (*run(packet(2.0, 0.9), PARABOLA, step=numerov_step), PARABOLA),
    "ring, not reaching its ends": lambda: run(packet(-4.0, momentum=1.0), periodic=True),
    "bouncing off a wall": lambda: run(packet(10.0, 1.5, 3.0), t1=6.0, steps=1200, save=20),
    "absorber": lambda: (
        *run(packet(8.0, 1.5, 3.0), -3j * np.clip((np.abs(X) - 13) / 7, 0, None) ** 2, t1=5.0, steps=500),
        -3j * np.clip((np.abs(X) - 13) / 7, 0, None) ** 2,
    ),
    "other units": lambda: (
        rows(exact.free_packet, momentum=1.5, mass=2.0, hbar=0.5),
        X,
        T,
        None,
        {"mass": 2.0, "hbar": 0.5},
    ),
    "two packets": lambda: (
        rows(exact.free_packet, center=-6.0, momentum=1.0) + rows(exact.free_packet, center=6.0, momentum=-1.0),
        X,
        T,
    ),
    "not normalized": lambda: (3.0 * rows(exact.free_packet), X, T),
    "not uniform, and computed so": lambda: non_uniform(right=True),
    "single precision": lambda: (rows(exact.free_packet).astype(np.complex64), X, T),
    "around a ring that is told": lambda: (
        *run(packet(12.0, 1.0, 2.0), periodic=True, t1=7.0, steps=700),
        None,
        {"periodic": True},
    ),
    "saved rarely": lambda: (rows(exact.coherent_state, center=3.0)[::15], X, T[::15], PARABOLA),
    "the step told": lambda: (rows(exact.free_packet, momentum=2.0), X, T, None, {"dt": 0.05}),
}


def non_uniform(right):
    """Propagate on a stretched grid, with the differences that belong to it or with uniform ones."""
    x = 20.0 * np.sinh(np.linspace(-1.5, 1.5, N)) / np.sinh(1.5)
    h = np.diff(np.concatenate([[2 * x[0] - x[1]], x, [2 * x[-1] - x[-2]]]))
    if not right:
        h = np.full(N + 1, (x[-1] - x[0]) / (N - 1))
    before, after = h[:-1], h[1:]
    off = -1 / (before + after)
    matrix = np.diag(1 / (before * after))
    matrix += np.diag((off / before)[1:], -1) + np.diag((off / after)[:-1], 1)
    c = 0.5j * 0.01
    u = np.linalg.matrix_power(np.linalg.solve(np.eye(N) + c * matrix, np.eye(N) - c * matrix), 10)
    out = [packet(-3.0, 1.0, 1.5, x)]
    for _ in range(30):
        out.append(u @ out[-1])
    return np.array(out), x, T


@pytest.mark.parametrize("name", RIGHT)
def test_silent_on_a_correct_run(name):
    psi, x, t, *more = RIGHT[name]()
    options = more[1] if len(more) > 1 else {}
    found = diagnose.wavefunction(psi, x, t, more[0] if more else None, **options)
    assert found.ok, str(found)
    assert found.notes
    json.loads(found.to_json())


def not_unitary(h, c):
    u = np.linalg.solve(np.eye(N) + c * h, np.eye(N) - c * h)
    return 0.999 * u


def right_without_potential(h, c):
    v = np.diag(np.diag(h) - 1 / DX**2)
    return np.linalg.solve(np.eye(N) + c * h, np.eye(N) - c * (h - 2 * v))


def leaking(h, c):
    left = np.eye(N) + c * h
    left[-1, -1] -= c / (2 * DX**2)
    return np.linalg.solve(left, np.eye(N) - c * h)


FAULTS = {
    "conjugated": (lambda: (rows(exact.free_packet, momentum=1.0).conj(), X, T), "ehrenfest"),
    "kinetic term twice": (lambda: run(packet(-4.0, momentum=1.0), kinetic=2.0), "ehrenfest"),
    "kinetic term twice, at rest": (lambda: run(packet(), kinetic=2.0), "spreading"),
    "dt for dt/2": (lambda: run(packet(), dt_factor=2.0), "spreading"),
    "dt for dt/2, parabola": (lambda: (*run(packet(2.0, 0.7), PARABOLA, dt_factor=2.0), PARABOLA), "ehrenfest"),
    "potential forgotten": (lambda: (*run(packet(2.0, 0.7)), PARABOLA), "ehrenfest"),
    "potential of the wrong sign": (lambda: (*run(packet(2.0, 0.7), -PARABOLA / 8), PARABOLA / 8), "ehrenfest"),
    "potential of the wrong sign on one side": (
        lambda: (*run(packet(2.0, 0.7), PARABOLA, step=right_without_potential), PARABOLA),
        "norm",
    ),
    "probability lost in every step": (lambda: run(packet(), step=not_unitary), "norm"),
    "a wall that leaks": (lambda: run(packet(10.0, 1.5, 3.0), t1=6.0, steps=600, step=leaking), "norm"),
    "real array": (lambda: (rows(exact.free_packet).real, X, T), "not-complex"),
    "imaginary part lost in a complex array": (
        lambda: (rows(exact.free_packet, momentum=1.0).real.astype(complex), X, T),
        "not-complex",
    ),
    "wrapped around a ring": (lambda: run(packet(12.0, 1.0, 4.0), periodic=True, t1=4.0, steps=800), "wrapped"),
    "momentum too high for second differences": (lambda: run(packet(-8.0, 1.0, 5.0)), "coarse-grid"),
    "momentum near the edge of the grid": (lambda: run(packet(-8.0, 1.0, 0.7 * np.pi / DX)), "aliasing"),
    "non-uniform grid treated as uniform": (lambda: non_uniform(right=False), "non-uniform"),
    "starts in the wall": (lambda: run(packet(19.7, 1.0)), "boundary"),
    "constant added to the energy": (lambda: run(packet(-4.0, momentum=1.0), 1.7), "phase"),
    "not a number": (
        lambda: (np.where(np.arange(31)[:, None] > 20, np.nan, rows(exact.free_packet)), X, T),
        "nonfinite",
    ),
    "rows out of order": (lambda: (rows(exact.free_packet, momentum=2.0)[::-1], X, T), "ehrenfest"),
    "steps far too long": (lambda: (rows(exact.free_packet, momentum=2.0), X, T, None, {"dt": 3.0}), "time-step"),
    "a jump between two rows": (
        lambda: (np.concatenate([rows(exact.free_packet)[:15], rows(exact.free_packet, center=3.0)[15:]]), X, T),
        "continuity",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_named(name):
    make, expected = FAULTS[name]
    psi, x, t, *more = make()
    found = diagnose.wavefunction(psi, x, t, more[0] if more else None, **(more[1] if len(more) > 1 else {}))
    assert expected in codes(found), str(found)
    assert codes(found)[0] == expected, str(found)
    for finding in found.findings:
        assert finding.message
        assert finding.cure
    json.loads(found.to_json())


def test_clock_says_by_which_factor_the_packet_spreads():
    [finding] = diagnose.wavefunction(*run(packet(), kinetic=2.0)).findings
    assert "2" in finding.message
    assert "times as fast" in finding.message


def test_table_and_notes_hold_what_was_measured():
    found = diagnose.wavefunction(*RIGHT["exact, moving"]())
    measured = found.tables[0]
    for time, norm, position, momentum, width, *_ in measured.rows:
        assert_allclose([norm, position, momentum], [1.0, -5.0 + 2.0 * time, 2.0], rtol=1e-4)
        assert_allclose(width, np.sqrt(1 + time**2 / 4), rtol=1e-6)
    assert any("exact packet" in note for note in found.notes)
    assert any("continuity" in note for note in found.notes)
    assert any("energy" in note for note in found.notes)
    assert any("pi/dx" in note or "π/dx" in note for note in found.notes)


def test_reflection_from_a_wall_is_a_note_with_its_time():
    found = diagnose.wavefunction(*RIGHT["bouncing off a wall"]())
    [note] = [note for note in found.notes if "reflected" in note]
    assert "last" in note


def test_the_norm_is_a_table_column_even_of_a_run_that_failed():
    found = diagnose.wavefunction(*run(packet(), step=not_unitary))
    assert_allclose(found.tables[0].rows[-1][1], 0.999**300, rtol=1e-6)
    assert_allclose(found.findings[0].evidence["rate"], np.log(0.999) / 0.01, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"psi": np.zeros((31, N), complex)}, "`psi` must start from something"),
        ({"psi": np.zeros((31, 5), complex)}, r"`psi` must have shape \(31, 401\)"),
        ({"psi": "psi"}, "`psi` must be an array of numbers"),
        ({"x": X[:5]}, "`x` must have at least 9 elements"),
        ({"x": X[::-1]}, "`x` must increase strictly"),
        ({"x": np.ones((2, N))}, "`x` must have 1 axis"),
        ({"t": T[:1]}, "`t` must have at least 2 elements"),
        ({"t": np.zeros(31)}, "`t` must increase strictly"),
        ({"potential": PARABOLA[1:]}, r"`potential` must have shape \(401,\)"),
        ({"potential": np.full(N, np.nan)}, "`potential` must be finite"),
        ({"potential": "V"}, "`potential` must be an array of numbers"),
        ({"mass": 0.0}, "`mass` must be a finite positive number"),
        ({"hbar": None}, "`hbar` must be a finite positive number"),
        ({"dt": -0.1}, "`dt` must be a finite positive number"),
        ({"nonlinearity": "strong"}, "`nonlinearity` must be a finite number"),
    ],
)
def test_bad_input_is_named(arguments, message):
    good = {"psi": np.ones((31, N), complex), "x": X, "t": T}
    with pytest.raises(ValueError, match=message) as error:
        diagnose.wavefunction(**(good | arguments))
    assert "\n" not in str(error.value)
