"""Hand-made Crank-Nicolson steps: every planted fault is named, and correct programs of many forms pass in silence."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum import diagnose
from jaxnum.diagnose.waves.step_matrices import dispersion, from_dense
from jaxnum.schrodinger import Grid, Periodic, cayley_matrices
from jaxnum.schrodinger.cayley import pade_roots

N, DX, DT = 61, 0.2, 0.02
X = DX * (np.arange(N) - N // 2)
V = X**2 / 8 + 0.3 * np.sin(X)
R = 1 / (2 * DX**2)  # ħ²/2m dx²


def hamiltonian(v=V, kinetic=1.0):
    """Return H between walls one point outside, by a loop over rows as beginners write it."""
    n = len(v)
    h = np.zeros((n, n), complex)
    for j in range(n):
        h[j, j] = 2 * R * kinetic + v[j]
        if j > 0:
            h[j, j - 1] = -R * kinetic
        if j < n - 1:
            h[j, j + 1] = -R * kinetic
    return h


def pair(h_left, h_right=None, dt=DT):
    """Return the two matrices of a step for one or two Hamiltonians."""
    one = np.eye(len(h_left))
    return one + 0.5j * dt * h_left, one - 0.5j * dt * (h_left if h_right is None else h_right)


def bands(matrix):
    """Return the bands (3, n) of a dense matrix, zeros where nothing is."""
    lower, upper = np.zeros(len(matrix), complex), np.zeros(len(matrix), complex)
    lower[1:], upper[:-1] = np.diag(matrix, -1), np.diag(matrix, 1)
    return np.stack([lower, np.diag(matrix), upper])


def changed(matrix, *entries):
    """Return a matrix with some entries set."""
    matrix = matrix.copy()
    for row, column, value in entries:
        matrix[row, column] = value
    return matrix


def examine(left, right, **options):
    return diagnose.scheme(left, right, **({"dx": DX, "dt": DT, "potential": V} | options))


def codes(found):
    return [finding.code for finding in found.findings]


H = hamiltonian()
A, B = pair(H)


def numerov(v=V, cyclic=False):
    n = len(v)
    m = np.eye(n) * 10 / 12 + (np.eye(n, k=1) + np.eye(n, k=-1)) / 12
    k = R * (2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1))
    if cyclic:
        m[0, -1] = m[-1, 0] = 1 / 12
        k[0, -1] = k[-1, 0] = -R
    g = k + m * v[None, :]
    return m + 0.5j * DT * g, m - 0.5j * DT * g


def elements():
    n = N
    m = np.eye(n) * 4 / 6 + (np.eye(n, k=1) + np.eye(n, k=-1)) / 6
    g = R * (2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)) + m * V[None, :]
    return m + 0.5j * DT * g, m - 0.5j * DT * g


def ring():
    h = hamiltonian()
    h[0, -1] = h[-1, 0] = -R
    return pair(h)


def slope_walls():
    h = hamiltonian()
    h[0, 0] -= R
    h[-1, -1] -= R
    return pair(h)


def mirror_walls():
    h = hamiltonian()
    h[0, 1] = h[-1, -2] = -2 * R
    return pair(h)


def held_walls(keep=1.0):
    h = hamiltonian()
    a, b = pair(h)
    for matrix, value in ((a, 1.0), (b, keep)):
        matrix[[0, -1]] = 0
        matrix[0, 0] = matrix[-1, -1] = value
    return a, b


def absorber(strength=3.0):
    return V - 1j * strength * np.clip((np.abs(X) - 4) / 2, 0, None) ** 2


def pade(order, place):
    c = -1j * DT / pade_roots(order)[place]
    return np.eye(N) + c * H, np.eye(N) - c * H


def jaxnum_walls(space_order, boundary=None):
    grid = Grid(X[0], X[-1], N)
    more = {} if boundary is None else {"boundary": boundary}
    left, right = cayley_matrices(V, grid, DT, space_order=space_order, **more)
    return np.asarray(left), np.asarray(right)


def units():
    mass, hbar, dt = 1.7, 0.6, 0.05
    r = hbar**2 / (2 * mass * DX**2)
    h = r / R * hamiltonian(np.zeros(N)) + np.diag(V)
    return *pair(h, dt=dt / hbar), {"mass": mass, "hbar": hbar, "dt": dt}


RIGHT = {
    "crank-nicolson, dense": lambda: (A, B),
    "crank-nicolson, bands": lambda: (bands(A), bands(B)),
    "without a potential told": lambda: (A, B, {"potential": None}),
    "free": lambda: (*pair(hamiltonian(0 * V)), {"potential": 0 * V}),
    "free, not told": lambda: (*pair(hamiltonian(0 * V)), {"potential": None}),
    "numerov": numerov,
    "numerov, not told": lambda: (*numerov(), {"potential": None}),
    "numerov ring": lambda: numerov(cyclic=True),
    "finite elements": elements,
    "ring": ring,
    "ring, bands": lambda: tuple(from_dense(m)[0] for m in ring()),
    "zero slope half a point outside": slope_walls,
    "zero slope on the point": mirror_walls,
    "held at zero": held_walls,
    "held, right rows empty": lambda: held_walls(0.0),
    "times a constant": lambda: (2.5j * A, 2.5j * B),
    "scaled row by row": lambda: (R * A * (1 + np.arange(N))[:, None], R * B * (1 + np.arange(N))[:, None]),
    "jaxnum, order 2": lambda: jaxnum_walls(2),
    "jaxnum, order 4": lambda: jaxnum_walls(4),
    "jaxnum, ring of order 4": lambda: jaxnum_walls(4, Periodic()),
    "other units": units,
    "absorber told": lambda: (*pair(hamiltonian(absorber())), {"potential": absorber()}),
    "absorber, only V told": lambda: pair(hamiltonian(absorber())),
    "absorber, nothing told": lambda: (*pair(hamiltonian(absorber())), {"potential": None}),
    "factor of Padé 2/2": lambda: pade(4, 0),
    "other factor of Padé 2/2": lambda: pade(4, 1),
    "factor of Padé 4/4": lambda: pade(8, 2),
    "single precision": lambda: (A.astype(np.complex64), B.astype(np.complex64)),
    "lists": lambda: (A.tolist(), B.tolist()),
}


@pytest.mark.parametrize("name", RIGHT)
def test_silent_on_a_correct_program(name):
    left, right, *options = RIGHT[name]()
    found = examine(left, right, **(options[0] if options else {}))
    assert found.ok, str(found)
    assert found.notes
    json.loads(found.to_json())


def real_cast():
    a, b = np.zeros((2, N, N))
    a[:], b[:] = A.real, B.real
    return a, b


FAULTS = {
    "potential of the wrong sign on the right": (lambda: pair(H, hamiltonian(-V)), ["potential-sign"]),
    "potential of the wrong sign on the left": (lambda: pair(hamiltonian(-V), H), ["potential-sign"]),
    "potential of the wrong sign on both": (lambda: pair(hamiltonian(-V)), ["potential-sign"]),
    "potential missing on the right": (lambda: pair(H, hamiltonian(0 * V)), ["potential-missing"]),
    "potential twice on the right": (lambda: pair(H, hamiltonian(2 * V)), ["potential-factor"]),
    "potential from the next point": (lambda: pair(hamiltonian(np.roll(V, -1))), ["potential-shifted"]),
    "kinetic term twice": (lambda: pair(hamiltonian(kinetic=2.0)), ["kinetic-factor"]),
    "kinetic term halved": (lambda: pair(hamiltonian(kinetic=0.5)), ["kinetic-factor"]),
    "kinetic term twice on the right": (lambda: pair(H, hamiltonian(kinetic=2.0)), ["kinetic-factor"]),
    "dt for dt/2": (lambda: pair(2 * H), ["time-step"]),
    "dt for dt/2 on the left": (lambda: pair(2 * H, H), ["time-step"]),
    "the same sign of i twice": (lambda: (A, A), ["time-step"]),
    "i missing on both": (
        lambda: (np.eye(N) + 0.5 * DT * H + 0j, np.eye(N) - 0.5 * DT * H + 0j),
        ["complex-factor"],
    ),
    "i missing on the right": (lambda: (A, np.eye(N) - 0.5 * DT * H + 0j), ["complex-factor"]),
    "one off-diagonal 10 % off": (lambda: (changed(A, (23, 24, 1.1 * A[23, 24])), B), ["entry"]),
    "one diagonal 10 % off": (lambda: (A, changed(B, (40, 40, 1.1 * B[40, 40]))), ["entry"]),
    "a whole off-diagonal doubled": (lambda: (A + np.diag(np.diag(A, 1), 1), B), ["off-diagonal"]),
    "diagonal of half the size": (lambda: pair(H - np.diag(np.full(N, R))), ["diagonal", "diagonal"]),
    "swapped": (lambda: (B, A), ["swapped"]),
    "complex cast lost": (real_cast, ["not-complex"]),
    "corner of another wall": (
        lambda: (changed(A, (0, 0, A[0, 0] - 0.5j * DT * R), (-1, -1, A[-1, -1] - 0.5j * DT * R)), B),
        ["corner", "corner"],
    ),
    "corner that is no wall": (lambda: (changed(A, (N - 1, N - 1, 1.0 + 0.3j)), B), ["corner"]),
    "ring on one side only": (lambda: (ring()[0], B), ["entry", "entry"]),
    "off by one": (lambda: (np.roll(A, 1, axis=1), np.roll(B, 1, axis=1)), ["not-tridiagonal"]),
    "absorber undone by a conjugate": (
        lambda: (pair(hamiltonian(absorber()))[0], pair(hamiltonian(absorber()))[0].conj()),
        ["absorber"],
    ),
    "absorber of the wrong sign": (lambda: pair(hamiltonian(absorber().conj())), ["gain"]),
    "padding on one side": (
        lambda: (bands(A) + np.eye(1, 3 * N, 0).reshape(3, N) * 0.7, bands(B)),
        ["padding"],
    ),
    "lower band not shifted": (
        lambda: tuple(np.stack([np.roll(bands(m)[0], -1), *bands(m)[1:]]) for m in (A, B)),
        ["padding", "padding"],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_named(name):
    make, expected = FAULTS[name]
    found = examine(*make())
    assert codes(found) == expected, str(found)
    for finding in found.findings:
        assert finding.message
        assert finding.cure
    json.loads(found.to_json())


@pytest.mark.parametrize(
    "name",
    [
        "potential of the wrong sign on the right",
        "kinetic term twice on the right",
        "swapped",
        "dt for dt/2 on the left",
    ],
)
def test_faults_on_one_side_are_seen_without_a_potential(name):
    make, expected = FAULTS[name]
    found = examine(*make(), potential=None)
    # Without a potential a side that was scaled as a whole is one whose kinetic term was: both are true.
    assert set(codes(found)) & {*expected, "kinetic-factor"}, str(found)


def test_the_entry_is_named_with_its_place_and_its_value():
    wrong = 1.1 * A[23, 24]
    [finding] = examine(changed(A, (23, 24, wrong)), B).findings
    assert finding.evidence["row"] == 23
    assert finding.evidence["column"] == 24
    assert_allclose(finding.evidence["expected"], A[23, 24], rtol=1e-9)
    assert "left[23, 24]" in finding.message
    assert "probability" in finding.message


def test_the_side_is_named():
    for h_left, h_right, side in ((H, hamiltonian(-V), "right"), (hamiltonian(-V), H, "left")):
        [finding] = examine(*pair(h_left, h_right)).findings
        assert finding.evidence["side"] == side


def test_dispersion_of_correct_rows_is_exact():
    # The Cayley form has no error of time in it: V, no drift, mass one, no gain, to rounding.
    energy, drift, bent = dispersion(bands(A), bands(B), DX, DT)
    inner = slice(1, -1)
    assert_allclose(energy[inner], V[inner], atol=1e-11)
    assert_allclose(drift[inner], 0.0, atol=1e-11)
    assert_allclose(bent[inner], 1.0, rtol=1e-11)
    # Numerov: V + δ²V/12, and a real asymmetry of (V_{j+1} - V_{j-1}) dx/12.
    energy, drift, _ = dispersion(*(bands(m) for m in numerov()), DX, DT)
    assert_allclose(energy[inner], V[inner] + np.diff(V, 2) / 12, atol=1e-11)
    assert_allclose(drift[inner], 1j * (V[2:] - V[:-2]) * DX / 12, atol=1e-11)


def test_table_says_what_rows_do():
    [table] = examine(A, B).tables
    for row, potential, acts, mass, drift, gain in table.rows:
        assert_allclose([potential, acts], V[row], atol=1e-9)
        assert_allclose([mass, drift, gain], [1, 0, 0], atol=1e-9)
    wrong = examine(changed(A, (23, 24, 1.1 * A[23, 24])), B).tables[0]
    [row] = [row for row in wrong.rows if row[0] == 23]
    # The sum of the row is off by a tenth of R on one of two sides; half of it acts on a long wave.
    assert_allclose(row[2] - V[23], -0.1 * R / 2, rtol=0.02)


# --- step functions ---------------------------------------------------------------------------------------------------


def stepper(left, right):
    return lambda psi: np.linalg.solve(left, right @ psi)


def split_step(psi):
    k = 2 * np.pi * np.fft.fftfreq(N, DX)
    half = np.exp(-0.5j * DT * V)
    return half * np.fft.ifft(np.exp(-0.5j * DT * k**2) * np.fft.fft(half * psi))


STEPS_RIGHT = {
    "crank-nicolson": stepper(A, B),
    "numerov": stepper(*numerov()),
    "ring": stepper(*ring()),
    "zero slope": stepper(*slope_walls()),
    "absorber": stepper(*pair(hamiltonian(absorber()))),
    "fft": split_step,
    "padé 2/2": lambda psi: stepper(*pade(4, 0))(stepper(*pade(4, 1))(psi)),
}


@pytest.mark.parametrize("name", STEPS_RIGHT)
def test_silent_on_a_correct_step_function(name):
    found = examine(STEPS_RIGHT[name], None)
    assert found.ok, str(found)
    assert found.notes


def loses_the_imaginary_part(psi):
    out = np.zeros(N)
    out[:] = (np.linalg.solve(A, B @ psi)).real
    return out


STEPS_WRONG = {
    "potential of the wrong sign on the right": (stepper(*pair(H, hamiltonian(-V))), "potential-missing"),
    "potential of the wrong sign on both": (stepper(*pair(hamiltonian(-V))), "potential-sign"),
    "kinetic term twice": (stepper(*pair(hamiltonian(kinetic=2.0))), "kinetic-factor"),
    "dt for dt/2": (stepper(*pair(2 * H)), "time-step"),
    "swapped": (stepper(B, A), "swapped"),
    "one entry": (stepper(changed(A, (23, 24, 1.1 * A[23, 24])), B), "not-unitary"),
    "real arithmetic": (loses_the_imaginary_part, "not-complex"),
    "not linear": (lambda psi: np.linalg.solve(A, B @ psi) * (1 + 0.1 * np.abs(psi) ** 2), "not-linear"),
    "fft of half the kinetic term": (
        lambda psi: np.fft.ifft(np.exp(-0.25j * DT * (2 * np.pi * np.fft.fftfreq(N, DX)) ** 2) * np.fft.fft(psi)),
        "kinetic-factor",
    ),
    "not finite": (lambda psi: psi * np.nan, "nonfinite"),
}


@pytest.mark.parametrize("name", STEPS_WRONG)
def test_fault_in_a_step_function_is_named(name):
    step, expected = STEPS_WRONG[name]
    found = examine(step, None)
    assert expected in codes(found), str(found)


# --- non-uniform grids ------------------------------------------------------------------------------------------------

STRETCHED = np.sinh(X / 4) * 4


def stretched(x):
    h = np.diff(np.concatenate([[2 * x[0] - x[1]], x, [2 * x[-1] - x[-2]]]))
    before, after = h[:-1], h[1:]
    m = np.diag(1 / (before * after) + 0j)
    m -= np.diag((1 / (before * (before + after)))[1:], -1) + np.diag((1 / (after * (before + after)))[:-1], 1)
    return m + np.diag(x**2 / 8)


def test_non_uniform_grid_taken_for_uniform_is_named():
    v = STRETCHED**2 / 8
    mean = (STRETCHED[-1] - STRETCHED[0]) / (N - 1)
    wrong = hamiltonian(0 * V) * DX**2 / mean**2 + np.diag(v)
    found = diagnose.scheme(*pair(wrong), dx=np.diff(STRETCHED), dt=DT, potential=v)
    assert codes(found) == ["non-uniform"], str(found)
    found = diagnose.scheme(*pair(stretched(STRETCHED)), dx=STRETCHED, dt=DT, potential=v)
    assert found.ok, str(found)
    assert examine(A, B, dx=X).ok
    assert examine(A, B, dx=np.full(N - 1, DX)).ok


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"left": "A"}, "`left` must be a matrix"),
        ({"left": np.eye(3) + 0j}, "`left` must be a matrix .* at least 7 points"),
        ({"left": np.ones((5, 9)) + 0j}, "`left` must be a matrix"),
        ({"left": A.astype(object)}, "`left` must be a matrix"),
        ({"left": np.full((9, 9), np.nan + 0j)}, "`left` must be finite"),
        ({"right": A[:-1, :-1]}, "`right` must have 61 rows, as `left`, but has 60"),
        ({"right": None}, "`right` must be a matrix"),
        ({"dx": 0.0}, "`dx` must be a finite positive number"),
        ({"dx": "0.1"}, "`dx` must be"),
        ({"dx": -X}, "`dx` must increase strictly"),
        ({"dx": X[:5]}, "`dx` must be one number, 60 spacings or 61 positions"),
        ({"dt": -1.0}, "`dt` must be a finite positive number"),
        ({"dt": np.ones(3)}, "`dt` must be a finite positive number"),
        ({"mass": 0.0}, "`mass` must be a finite positive number"),
        ({"hbar": np.inf}, "`hbar` must be a finite positive number"),
        ({"potential": V[:-1]}, r"`potential` must have shape \(61,\)"),
        ({"potential": "V"}, "`potential` must be an array of numbers"),
        ({"left": lambda psi: psi, "right": None, "potential": None}, "`potential` must be given with a step function"),
        ({"left": lambda psi: psi, "right": B}, "`right` must be None with a step function"),
        ({"left": lambda psi: psi[:-1], "right": None}, "`left` must return shape"),
        ({"left": lambda psi: str(psi), "right": None}, "`left` must return"),
    ],
)
def test_bad_input_is_named(options, message):
    arguments = {"left": A, "right": B, "dx": DX, "dt": DT, "potential": V} | options
    with pytest.raises(ValueError, match=message) as error:
        diagnose.scheme(**arguments)
    assert "\n" not in str(error.value)
