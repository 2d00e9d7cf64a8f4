"""A hand-made Crank-Nicolson step, examined row by row.

    (1 + i dt H/2ħ) ψ(t + dt) = (1 - i dt H/2ħ) ψ(t)

`step_matrices` measures what each side and each row does, and the rules of `scheme_rules` put it into words; a step
that is given as a function is first turned into matrices, or weighed as a whole, by `step_function`.
"""

from typing import Any

import numpy as np

from jaxnum._checks import check_increasing, check_positive, refuse
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.reproduce import with_lines
from jaxnum.diagnose.waves import step_function
from jaxnum.diagnose.waves.reproduce import Given, of_matrices, of_scheme
from jaxnum.diagnose.waves.scheme_rules import RULES, not_unitary, same, show_complex, swapped
from jaxnum.diagnose.waves.step_matrices import (
    FORMS,
    Measured,
    dispersion,
    from_dense,
    measure,
    unitarity_defect,
)
from jaxnum.schrodinger.cayley import pade_roots

_DENSE = 2000  # beyond that many rows the one-step matrix is not formed


def scheme(
    left: Any, right: Any = None, *, dx: Any, dt: float, potential: Any = None, mass: float = 1.0, hbar: float = 1.0
) -> Diagnosis:
    """Examine the two matrices of a Crank-Nicolson step, left ψ(t + dt) = right ψ(t), row by row, or a step function.

    Second differences, Numerov's rows and linear finite elements are recognized, with walls or on a ring, absorbers,
    and single factors of the Padé schemes of order 4 to 8.

    Args:
        left: Matrix that multiplies ψ(t + dt): dense (n, n), or bands (3, n) whose column j is row j in the order
            lower, diagonal, upper; `bands[0, 0]` and `bands[2, -1]` are then zero, or the corners of a ring. Or a
            function `step(psi)` that returns ψ(t + dt): it is called once for every point, and may be any scheme.
        right: Matrix that multiplies ψ(t), in the same form; None with a step function.
        dx: Spacing of the uniform grid; or its n - 1 spacings or n positions, to have a non-uniform grid noticed.
        dt: Time step.
        potential: V at the points, (n,), complex where it absorbs. Without it V is read from the left matrix, and only
            the right one is held against it; a step function needs it.
        mass: Particle mass.
        hbar: Reduced Planck constant.

    Returns:
        Diagnosis with findings `not-complex`, `padding`, `not-tridiagonal`, `non-uniform`, `swapped`, `time-step`,
        `kinetic-factor`, `complex-factor`, `off-diagonal`, `diagonal`, `potential-sign`, `potential-factor`,
        `potential-missing`, `potential-shifted`, `potential`, `absorber`, `gain`, `entry`, `entries`, `corner` and
        `not-unitary`; for a step function also `not-linear` and `nonfinite`.

    Raises:
        ValueError: If an argument makes no sense; the message names it.

    Example:
        >>> from jaxnum import diagnose
        >>> from jaxnum.schrodinger import Grid, cayley_matrices
        >>> grid = Grid(-5.0, 5.0, 51)
        >>> left, right = cayley_matrices(grid.x**2 / 2, grid, 0.01)
        >>> diagnose.scheme(left, right, dx=grid.dx, dt=0.01, potential=grid.x**2 / 2).ok
        True
        >>> diagnose.scheme(right, left, dx=grid.dx, dt=0.01, potential=grid.x**2 / 2).findings[0].code
        'swapped'
    """
    for name, value in {"dt": dt, "mass": mass, "hbar": hbar}.items():
        check_positive(name, value)
    dt, mass, hbar = float(dt), float(mass), float(hbar)
    if callable(left):
        return _of_function(left, right, dx, dt, potential, mass, hbar)
    found = _of_matrices(left, right, dx, dt, potential, mass, hbar)
    size = np.shape(left)[1]
    return with_lines(found, of_scheme(Given(left, right, dx, dt, mass, hbar, size)))


def _of_matrices(left, right, dx, dt, potential, mass, hbar) -> Diagnosis:
    a, outside, real_left = _bands("left", left)
    b, outside_right, real_right = _bands("right", right)
    n = a.shape[1]
    if b.shape[1] != n:
        refuse("right", f"have {n} rows, as `left`", f"has {b.shape[1]}")
    spacings = _spacings(dx, n)
    potential = _potential(potential, n)
    subject = f"a Crank-Nicolson step on {n} points"
    if real_left or real_right:
        where = "Both matrices are" if real_left and real_right else f"The {'left' if real_left else 'right'} matrix is"
        message = f"{where} real: the i of i dt H/2ħ is lost, or was never there."
        return Diagnosis(subject, (Finding("not-complex", message, {}, step_function.KEEP_COMPLEX),))
    if max(outside, outside_right) > 0:
        largest = max(outside, outside_right)
        message = f"Entries outside the three diagonals reach {largest:.3g}."
        cure = "Look for an index that is off by one; wider stencils are not read here."
        return Diagnosis(subject, (Finding("not-tridiagonal", message, {"largest": largest}, cure),))
    if np.ptp(spacings) > 1e-6 * spacings.mean():
        return _non_uniform(subject, a, b, spacings, dt / hbar, hbar**2 / (2 * mass))
    findings, (a, b) = _padding((a, b), (np.shape(left), np.shape(right)))
    if findings:
        return Diagnosis(subject, tuple(findings))
    given = Given(left, right, dx, dt, mass, hbar, n)
    return _examined(subject, a, b, float(spacings.mean()), given, potential)


def _examined(subject, a, b, dx, given, potential, *notes) -> Diagnosis:
    """Apply every rule."""
    half, step = given.hbar**2 / (2 * given.mass), given.dt / given.hbar
    n, kinetic = a.shape[1], half / dx**2
    findings: list[Finding] = []
    measured = measure(a, b, kinetic, step, potential)
    if (found := swapped(measured)) is not None:
        findings.append(found)
        a, b = b, a
        measured = measure(a, b, kinetic, step, potential)
    if (order := _pade_order(measured)) is not None:
        measured = measure(a, b, kinetic, step * complex(np.mean(measured.sides[0].kinetic)), potential)
        notes += (
            f"This is one factor of the Padé scheme of order {order}; the factors keep probability only together.",
        )
    for rule in RULES:
        findings += rule(measured)
    lossless = order is None and not np.iscomplexobj(measured.potential)
    defect = unitarity_defect(a, b, measured.cyclic) if n <= _DENSE and lossless else None
    if not findings:
        findings += not_unitary(measured, defect)
    notes = (*notes, *_notes(measured, defect, findings))
    exchanged = any(f.code == "swapped" for f in findings)
    found = Diagnosis(subject, tuple(findings), notes, _tables(measured, dx))
    return with_lines(found, of_matrices(given, measured, exchanged, order is not None))


def _of_function(step, right, dx, dt, potential, mass, hbar) -> Diagnosis:
    """Examine a step function: as matrices if it is Crank and Nicolson's, otherwise as a whole."""
    if right is not None:
        refuse("right", "be None with a step function", f"is {type(right).__name__}")
    if potential is None:
        refuse("potential", "be given with a step function: zeros in free space", "is None")
    v = _potential(potential, None)
    n = len(v)
    spacings = _spacings(dx, n)
    if np.ptp(spacings) > 1e-6 * spacings.mean():
        refuse("dx", "be uniform with a step function", f"runs from {spacings.min():g} to {spacings.max():g}")
    subject, half, h = f"a step function on {n} points", hbar**2 / (2 * mass), float(spacings.mean())
    u, finding = step_function.probe(step, n)
    given = Given(step, None, dx, dt, mass, hbar, n)
    if finding is not None:
        return with_lines(Diagnosis(subject, (finding,)), of_scheme(given))
    matrices = step_function.as_matrices(u, dt / hbar)
    if matrices is not None:
        note = "The step is a Crank-Nicolson step; its matrices were taken from it and read row by row."
        found = _examined(subject, *matrices, h, given, v, note)
        # Two different sides can make one odd tridiagonal G; then the whole says more than the rows.
        if len(found.findings) < 2:
            return found
    findings, notes = step_function.judge(step_function.weigh(u, half / h**2, dt / hbar, v))
    if not findings and matrices is not None:
        return found
    return with_lines(Diagnosis(subject, tuple(findings), tuple(notes)), of_scheme(given))


def _pade_order(m: Measured) -> int | None:
    """Return the order of the Padé scheme of which both sides are one factor."""
    factors = np.concatenate([side.kinetic for side in m.sides])
    if not same(factors) or abs(np.mean(factors).imag) < 1e-3:
        return None
    found = complex(np.mean(factors))
    for order in (4, 6, 8):
        if np.min(np.abs(-2 / pade_roots(order) - found)) < 1e-6:
            return order
    return None


def _non_uniform(subject, a, b, spacings, step, half) -> Diagnosis:
    """Hold the off-diagonals against those of a grid whose spacing varies."""
    before, after = spacings[:-1], spacings[1:]
    truth = -2 * half / np.stack([before * (before + after), after * (before + after)])
    span = f"the spacing runs from {spacings.min():.4g} to {spacings.max():.4g}"
    for name, bands in (("left", a), ("right", -b)):
        off = (2 / (1j * step) * bands[[0, 2], 1:-1]).real
        if np.max(np.abs(off / truth - 1)) < 1e-6:
            continue
        if np.ptp(off) < 1e-6 * np.max(np.abs(off)):
            message = f"The {name} matrix takes the grid for uniform, but {span}."
        else:
            message = f"The off-diagonals of the {name} matrix are not those of this grid: {span}."
        cure = (
            "Beside the diagonal stand -ħ²/(m h₋(h₋ + h₊)) and -ħ²/(m h₊(h₋ + h₊)), with the spacings to either side."
        )
        evidence = {"smallest": spacings.min(), "largest": spacings.max(), "side": name}
        return Diagnosis(subject, (Finding("non-uniform", message, evidence, cure),))
    notes = (
        f"The grid is not uniform, {span}; the off-diagonals are those of such a grid, and no more was looked at.",
    )
    return Diagnosis(subject, (), notes)


def _padding(matrices, shapes) -> tuple[list[Finding], list[np.ndarray]]:
    """Report the two entries of bands that belong to no row, where they are neither zero nor corners of a ring."""
    found, cleaned = [], []
    for name, bands, shape in zip(("left", "right"), matrices, shapes, strict=True):
        cleaned.append(bands)
        if shape[0] != 3:
            continue
        for index, first, last, label in ((0, 0, -1, "lower"), (2, -1, 0, "upper")):
            if bands[index, first] != 0 and bands[index, last] == 0 and bands[index, 1:-1].all():
                message = (
                    f"The {label} band of the {name} matrix is stored one place off: its zero is at the wrong end."
                )
                cure = "Column j holds row j: `bands[0, 0]` and `bands[2, -1]` are the entries that belong to no row."
                found.append(Finding("padding", message, {"side": name, "band": label}, cure))
        corners = np.array([bands[0, 0], bands[2, -1]])
        beside = np.array([bands[0, 1], bands[2, -2]])
        # On a ring a corner is what its neighbors in the band are, but for the potential that Numerov's rows carry.
        if not found and corners.any() and np.max(np.abs(corners - beside)) > 0.5 * np.max(np.abs(beside)):
            both = f"{show_complex(corners[0])} and {show_complex(corners[1])}"
            message = (
                f"bands[0, 0] and bands[2, -1] of the {name} matrix, {both}, belong to no row between walls, and are "
                "not the corners of a ring either."
            )
            cure = "Set both to zero: solvers differ in whether they ignore them."
            found.append(Finding("padding", message, {"side": name, "corners": corners}, cure))
    return found, cleaned


def _potential(potential: Any, n: int | None) -> np.ndarray | None:
    """Return the potential as a NumPy array, real or complex, or refuse it."""
    if potential is None:
        return None
    try:
        v = np.asarray(potential)
    except (ValueError, TypeError):
        v = np.asarray("ragged")
    if v.dtype.kind not in "iufc":
        refuse("potential", "be an array of numbers", f"has dtype {v.dtype}")
    if v.ndim != 1 or (n is not None and len(v) != n) or len(v) < 7:
        refuse("potential", f"have shape ({n or 'n'},)", f"has shape {v.shape}")
    if not np.isfinite(v).all():
        refuse("potential", "be finite", f"holds {v[~np.isfinite(v)][0]}")
    return v.astype(complex) if v.dtype.kind == "c" and v.imag.any() else v.real.astype(float)


def _spacings(dx: Any, n: int) -> np.ndarray:
    """Return the n - 1 spacings of a grid given by one number, by its spacings or by its positions."""
    try:
        values = np.asarray(dx)
    except (ValueError, TypeError):
        refuse("dx", f"be one number, {n - 1} spacings or {n} positions", "its rows differ in length")
    if values.ndim == 0:
        check_positive("dx", dx)
        return np.full(n - 1, float(dx))
    if values.dtype.kind not in "iuf" or values.shape not in ((n,), (n - 1,)):
        refuse("dx", f"be one number, {n - 1} spacings or {n} positions", f"has shape {values.shape}")
    values = values.astype(float)
    if len(values) == n:
        check_increasing("dx", values)
        return np.diff(values)
    if not (np.isfinite(values).all() and (values > 0).all()):
        refuse(
            "dx", "hold positive spacings", f"holds {values[~(values > 0)].flat[0] if (values <= 0).any() else 'NaN'}"
        )
    return values


def _notes(m: Measured, defect: np.ndarray | None, findings: list[Finding]) -> list[str]:
    kinds = {0.0: "second differences", 1 / 12: "Numerov's fourth-order rows", 1 / 6: "linear finite elements"}
    kind = kinds.get(m.averaging, f"averaged rows with {m.averaging:.4g} beside the diagonal")
    good = not any(f.code not in ("corner", "swapped") for f in findings)
    notes = [f"The inner rows are {kind}" + (", and all of them are right." if good else ".")]
    if m.cyclic:
        notes.append("The last point is the neighbor of the first: a ring.")
    else:
        sure = [m.sides[0].forms[e] if m.sides[0].forms[e] == m.sides[1].forms[e] else None for e in (0, 1)]
        for which, form in zip(("first", "last"), sure, strict=True):
            if form is not None:
                what = FORMS[form] if form != "other" else "a condition of its own, the same on both sides"
                notes.append(f"The {which} row is {what}.")
        if None not in sure and sure[0] != sure[1]:
            notes.append("The two ends are two different walls; that is allowed, if it is meant.")
    if m.potential.imag.any():
        rows = np.flatnonzero(np.abs(m.potential.imag) > 10 * m.noise)
        if len(rows):
            deepest = float(np.min(m.potential.imag))
            notes.append(f"The step absorbs: the potential has an imaginary part down to {deepest:.4g}.")
    if not m.given and m.potential.any():
        low, high = m.potential.real.min(), m.potential.real.max()
        notes.append(f"No potential was given; the left matrix holds one from {low:.4g} to {high:.4g}.")
    if defect is not None and np.isfinite(defect).all():
        row = int(np.argmax(defect))
        notes.append(f"One step misses unitarity by {defect[row]:.3g} (largest entry of U†U - 1, in row {row}).")
    return notes


def _tables(m: Measured, dx: float) -> tuple[Table, ...]:
    energy, drift, curvature = dispersion(*(raw.astype(complex) for raw in m.raw), dx, m.step)
    n = len(energy)
    inverse_mass = curvature / (2 * m.kinetic * dx**2)
    left_over = (np.abs(m.sides[0].leftover) + np.abs(m.sides[1].leftover)) * m.inner
    wrong = np.flatnonzero(left_over.max(axis=0) > 10 * m.noise)
    rows = sorted({1, n // 4, n // 2, 3 * n // 4, n - 2, *wrong[:5].tolist()})
    cells = tuple(
        (j, m.potential[j].real, energy[j].real, inverse_mass[j].real, drift[j].real, energy[j].imag) for j in rows
    )
    columns = ("row", "potential", "acts with", "mass/effective mass", "drift", "gain")
    return (Table("What single rows do to a long wave", columns, cells),)


def _bands(name: str, matrix: Any) -> tuple[np.ndarray, float, bool]:
    """Return the bands (3, n) of a matrix in either form, the largest entry outside, and whether it was real."""
    try:
        array = np.asarray(matrix)
    except (ValueError, TypeError):
        array = np.asarray("ragged")
    if array.ndim != 2 or array.dtype.kind not in "fc":
        what = f"has shape {array.shape}" if array.ndim != 2 else f"has dtype {array.dtype}"
        refuse(name, "be a matrix (n, n) or bands (3, n) of floating-point numbers", what)
    if not np.isfinite(array).all():
        refuse(name, "be finite", f"holds {array[~np.isfinite(array)].flat[0]}")
    real = array.dtype.kind == "f"
    array = array.astype(np.result_type(array.dtype, np.complex64))
    if array.shape[0] == 3 and array.shape[1] >= 7:
        return array, 0.0, real
    if array.shape[0] != array.shape[1] or len(array) < 7:
        refuse(name, "be a matrix (n, n) or bands (3, n) with at least 7 points", f"has shape {array.shape}")
    return *from_dense(array), real
