"""The two matrices of a hand-made Crank-Nicolson step, as numbers: what each row and each side really does.

    left ψ(t + dt) = right ψ(t),    left = M + i dt G/2ħ,    right = M - i dt G/2ħ,    G = K + MV

Each side is solved for its own G, so that a mistake is blamed on the side that has it. A row of G holds
(-r, 2r + V_j, -r) with r = ħ²/2m dx² where M is one; Numerov's M has 1/12 beside its diagonal, linear finite elements
1/6, and a neighbor's potential comes along. A side is fitted by factors of its kinetic bands and of its potential,
all of which should be one; the fit is in absolute values, so that a few wrong rows do not bend it but stand out.
"""

from typing import NamedTuple

import numpy as np

FORMS = {
    "wall": "a hard wall one point outside",
    "slope": "a zero-slope wall half a point outside",
    "mirror": "a zero-slope wall on the point",
    "held": "a hard wall on the point",
    "other": "no wall",
}


class Side(NamedTuple):
    """How one side reads."""

    name: str
    kinetic: np.ndarray  # factors of the kinetic term in lower, diagonal and upper band, complex
    potential: complex  # factor of the potential; NaN where there is none to see
    leftover: np.ndarray  # (3, n), G minus its fit
    energy: np.ndarray  # (3, n), G
    forms: tuple[str, str]  # what the first and the last row are


class Measured(NamedTuple):
    """Everything the rules look at."""

    kinetic: float  # r
    step: complex  # dt/ħ; times -2/w_s for one factor of a Padé scheme
    averaging: float  # entry of M beside its diagonal
    cyclic: bool
    potential: np.ndarray  # complex where the step absorbs
    given: bool  # whether the potential came with the call
    undone: float  # absorption that the left side has and the right side takes back, as an energy
    found_absorption: bool  # whether both sides hold an imaginary potential nobody told about
    sides: tuple[Side, Side]
    noise: float  # what rounding can do to an entry of G
    raw: tuple[np.ndarray, np.ndarray]  # bands as given
    scale: np.ndarray  # factor by which each row was divided
    inner: np.ndarray  # which entries (3, n) belong to inner rows


def dispersion(left: np.ndarray, right: np.ndarray, dx: float, step: complex) -> tuple[np.ndarray, ...]:
    """Return E_j, ∂E_j/∂k and ∂²E_j/∂k² at k = 0, where E_j(k) is the local dispersion of row j.

        E_j(k) = (2ħ/i dt) (a_j - b_j)/(a_j + b_j),    a_j = lower e^(-ik dx) + diagonal + upper e^(ik dx)

    Re E is the potential the row acts with, ∂E/∂k its drift, ∂²E/∂k² its ħ²/m; Im E > 0 is gain. `step` is dt/ħ.
    """
    lower, diagonal, upper = left - right
    n0, n1, n2 = lower + diagonal + upper, 1j * dx * (upper - lower), -(dx**2) * (upper + lower)
    lower, diagonal, upper = left + right
    p0, p1, p2 = lower + diagonal + upper, 1j * dx * (upper - lower), -(dx**2) * (upper + lower)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 2 / (1j * step)
        slope = (n1 * p0 - n0 * p1) / p0**2
        return scale * n0 / p0, scale * slope, scale * ((n2 * p0 - n0 * p2) / p0**2 - 2 * p1 / p0 * slope)


def unitarity_defect(left: np.ndarray, right: np.ndarray, cyclic: bool = False) -> np.ndarray:
    """Return, for every row, the largest entry of U†U - 1 with U = left⁻¹ right; NaN where left is singular."""
    try:
        u = np.linalg.solve(to_dense(left, cyclic), to_dense(right, cyclic))
    except np.linalg.LinAlgError:
        return np.full(left.shape[1], np.nan)
    gram = np.abs(u.conj().T @ u - np.eye(len(u)))
    # A point that is held at zero takes no part.
    silent = (np.abs(right) == 0).all(axis=0)
    gram[silent], gram[:, silent] = 0, 0
    return gram.max(axis=1)


def to_dense(bands: np.ndarray, cyclic: bool) -> np.ndarray:
    """Return the matrix (n, n)."""
    n = bands.shape[1]
    matrix = np.zeros((n, n), bands.dtype)
    rows = np.arange(n)
    matrix[rows, rows] = bands[1]
    matrix[rows[1:], rows[:-1]] = bands[0, 1:]
    matrix[rows[:-1], rows[1:]] = bands[2, :-1]
    if cyclic:
        matrix[0, -1], matrix[-1, 0] = bands[0, 0], bands[2, -1]
    return matrix


def from_dense(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the bands (3, n), corners included, and the largest entry outside of them."""
    n = len(matrix)
    rows = np.arange(n)
    bands = np.stack(
        [np.roll(matrix, 1, axis=1)[rows, rows], matrix[rows, rows], np.roll(matrix, -1, axis=1)[rows, rows]]
    )
    rest = matrix.copy()
    for k in (-1, 0, 1):
        rest[rows, (rows + k) % n] = 0
    return bands, float(np.max(np.abs(rest)))


def measure(
    left: np.ndarray, right: np.ndarray, kinetic: float, step: complex, potential: np.ndarray | None
) -> Measured:
    """Read both sides: what each row of G is, and by which factors it differs from the right one."""
    raw = (left, right)
    eps = np.finfo(left.dtype).eps
    left, right = left.astype(complex), right.astype(complex)
    n = left.shape[1]
    cyclic = all(x != 0 for x in (left[0, 0], left[2, -1])) or all(x != 0 for x in (right[0, 0], right[2, -1]))
    rows = np.arange(n) if cyclic else np.arange(2, n - 2)
    # A scheme may be written down times a constant, and the rows of M add up to one.
    sums = (left + right).sum(axis=0) / 2
    unscaled = abs(np.median(sums[rows].real) - 1) < 0.05
    scale = np.ones(n, complex) if unscaled else np.where(np.abs(sums) > 0, sums, 1)
    left, right = left / scale, right / scale
    averaging = _averaging(left, right, step, rows, eps)
    mean = np.array([averaging, 1 - 2 * averaging, averaging])[:, None]
    energies = [2 / (1j * step) * (left - mean), 2 / (1j * step) * (mean - right)]
    given = potential is not None
    size = max(float(np.max(np.abs(energies[0][1][rows] - 2 * kinetic))), 0.0)
    noise = max(1e4 * eps * max(2 / abs(step), size), max(1e-8, 1e2 * eps) * kinetic)
    absorbed, undone = (None, 0.0) if given and np.iscomplexobj(potential) else _absorption(energies, averaging, noise)
    if undone:
        for energy, loss in zip(energies, absorbed, strict=True):
            energy -= 1j * _weighted(loss, averaging)
        absorbed = None
    if potential is None:
        potential = _read_potential(energies[0].real, averaging, kinetic, rows)
        if not cyclic:  # the rows at the ends say more about the walls
            potential[0], potential[-1] = 2 * potential[1] - potential[2], 2 * potential[-2] - potential[-3]
    size = float(np.max(np.abs(potential)))
    noise = max(1e4 * eps * max(2 / abs(step), size), max(1e-8, 1e2 * eps) * kinetic)
    if not given and np.max(np.abs(potential[rows])) < noise:
        potential = np.zeros(n)
    if absorbed is not None:
        potential = potential + 1j * absorbed[0]
    inner = np.zeros((3, n), bool)
    inner[:, slice(None) if cyclic else slice(1, -1)] = True
    sides = []
    for name, bands, energy in zip(("left", "right"), (left, right), energies, strict=True):
        factors, fitted = _fit(energy, averaging, kinetic, potential, noise, rows)
        forms = ("inner", "inner")
        if not cyclic:
            slack = 100 * noise if given or not potential.any() else 0.2 * kinetic
            forms = tuple(_form(bands, energy, mean, kinetic, potential, factors, slack, e) for e in (0, -1))
        sides.append(Side(name, factors[:3], factors[3], energy - fitted, energy, forms))
    for end, row, beside in ((0, 1, 0), (1, -2, 2)):
        # Next to a point that is held at zero, the coupling to it may be left out.
        held = all(side.forms[end] == "held" for side in sides)
        if held and left[beside, row] == 0 and right[beside, row] == 0:
            inner[beside, row] = False
        if not given and averaging and not cyclic:
            inner[beside, row] = False  # it holds the potential of the end point, which was not given
    return Measured(
        kinetic,
        step,
        averaging,
        cyclic,
        potential,
        given,
        undone,
        absorbed is not None,
        tuple(sides),
        noise,
        raw,
        scale,
        inner,
    )


def _averaging(left: np.ndarray, right: np.ndarray, step: complex, rows: np.ndarray, eps: float) -> float:
    """Return the entry of M beside its diagonal."""
    factor = 1j * step  # M is what is left of an off-diagonal that has no part along i dt
    along = [(band[rows] / factor).imag * abs(factor) for side in (left, right) for band in side[[0, 2]]]
    turn = (1 / factor).imag * abs(factor)
    seen = [float(np.median(values)) / turn for values in along]
    # A band that is multiplied by something complex shows a wrong M; two that agree on a usual one are believed.
    for usual in (0.0, 1 / 12, 1 / 6):
        if sum(abs(value - usual) < 1e-6 + 1e3 * eps for value in seen) >= 2:
            return usual
    return float(np.median(seen))


def _absorption(energies: list, averaging: float, noise: float) -> tuple[list | None, float]:
    """Return the imaginary potential of both sides where there is one, and how much one side takes back of it."""
    losses = [energy[1].imag / (1 - 2 * averaging) for energy in energies]
    size = max(float(np.max(np.abs(loss[2:-2]))) for loss in losses)
    for energy, loss in zip(energies, losses, strict=True):
        # What belongs to a potential shows beside the diagonal only as M carries it there.
        beside = np.abs((energy - 1j * _weighted(loss, averaging)).imag[[0, 2], 2:-2])
        if np.median(beside) > 10 * noise or size <= 10 * noise:
            return None, 0.0
    same, opposite = (np.abs(losses[0] - sign * losses[1])[2:-2] for sign in (1, -1))
    if same.max() <= 10 * noise:
        return losses, 0.0
    if opposite.max() <= 10 * noise and np.mean(np.abs(losses[0]) > 10 * noise) > 3 / len(losses[0]):
        return losses, size
    return None, 0.0


def _weighted(potential: np.ndarray, averaging: float) -> np.ndarray:
    """Return the bands of MV."""
    return np.stack(
        [
            averaging * np.roll(potential, 1),
            (1 - 2 * averaging) * potential,
            averaging * np.roll(potential, -1),
        ]
    )


def expected_energy(m: Measured) -> np.ndarray:
    """Return G as it should be, (3, n)."""
    return _weighted(m.potential, m.averaging) + m.kinetic * np.array([[-1.0], [2.0], [-1.0]])


def _fit(energy, averaging, kinetic, potential, noise, rows) -> tuple[np.ndarray, np.ndarray]:
    """Return factors (lower, diagonal, upper, potential), and the G they make."""
    n = energy.shape[1]
    bases = np.zeros((4, 3, n), potential.dtype)
    bases[0, 0], bases[1, 1], bases[2, 2] = -kinetic, 2 * kinetic, -kinetic
    bases[3] = _weighted(potential, averaging)
    seen = potential[rows]
    visible = np.max(np.abs(seen)) > 10 * noise
    varies = np.ptp(seen.real) + np.ptp(seen.imag) > 1e-3 * np.max(np.abs(seen))
    if visible and varies:
        columns = bases
    elif visible:
        # A constant potential and the diagonal of the kinetic term look alike: tie it to its neighbors.
        columns = np.stack([bases[0] + bases[1] / 2, bases[2] + bases[1] / 2, bases[3]])
    else:
        columns = bases[:3]
    found = np.zeros(len(columns), complex)
    # Bands that share no factor are fitted apart: an odd one must not draw the weight away from the others.
    blocks = [[0, 1, 2]] if averaging or (len(columns) == 3 and visible) else [[0], [1], [2]]
    for block in blocks:
        design = columns[:, block][:, :, rows].reshape(len(columns), -1).T
        used = design.any(axis=0)
        found[used] = _least_absolute(design[:, used], energy[block][:, rows].ravel(), noise)
    fitted = np.tensordot(found, columns, axes=1)
    if len(found) == 3 and visible:
        found = np.array([found[0], (found[0] + found[1]) / 2, found[1], found[2]])
    elif len(found) == 3:
        found = np.append(found, np.nan)
    return found, fitted


def _least_absolute(design: np.ndarray, target: np.ndarray, noise: float) -> np.ndarray:
    """Return coefficients that minimize the sum of absolute deviations, by reweighting."""
    size = np.abs(design).max(axis=0)
    design = design / size
    weights = np.ones(len(target))
    for _ in range(40):
        root = np.sqrt(weights)
        found = np.linalg.lstsq(root[:, None] * design, root * target, rcond=None)[0]
        weights = 1 / np.maximum(np.abs(target - design @ found), noise * 1e-3)
        weights /= weights.max()
    trusted = np.abs(target - design @ found) < 10 * noise
    if trusted.mean() > 0.5:
        found = np.linalg.lstsq(design[trusted], target[trusted], rcond=None)[0]
    return found / size


def _read_potential(energy: np.ndarray, averaging: float, kinetic: float, rows: np.ndarray) -> np.ndarray:
    """Return the potential in one side's G when none was given."""
    # The kinetic parts of a row add up to zero, so the sum of a row is nearly its potential whatever their factor.
    weight = 1 - 2 * averaging
    factor = float(np.median(((energy[1] - weight * energy.sum(axis=0)) / (2 * kinetic))[rows]))
    usual = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)
    factor = next((u for u in usual if abs(factor / u - 1) < 0.02), factor)
    return (energy[1] - 2 * kinetic * factor) / weight


def _form(bands, energy, mean, kinetic, potential, factors, slack, end) -> str:
    """Say what the first (0) or last (-1) row of one side is."""
    beside = 2 if end == 0 else 0
    next_row = 1 if end == 0 else -2
    if bands[beside, end] == 0 and abs(bands[1, end]) in (0, 1):
        return "held"
    k, v = factors[:3], (0 if np.isnan(factors[3]) else factors[3])
    m = float(mean[0, 0])
    here, there = v * potential[end], v * potential[next_row]
    wall = (2 * k[1] * kinetic + (1 - 2 * m) * here, -k[beside] * kinetic + m * there)
    candidates = {"wall": wall}
    if m == 0:
        candidates["slope"] = (k[1] * kinetic + here, -k[beside] * kinetic)
        candidates["mirror"] = (2 * k[1] * kinetic + here, -2 * k[beside] * kinetic)
    for form, (diagonal, neighbor) in candidates.items():
        if abs(energy[1, end] - diagonal) <= slack and abs(energy[beside, end] - neighbor) <= slack:
            return form
    return "other"
