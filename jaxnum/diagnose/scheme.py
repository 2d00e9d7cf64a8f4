"""A hand-made Crank-Nicolson step, examined row by row.

    (1 + i dt H/2ħ) ψ(t + dt) = (1 - i dt H/2ħ) ψ(t)

`step_matrices` measures what each side and each row does; the rules here put it into words. A rule takes the
measurements and returns what it finds, which is usually nothing.
"""

from typing import Any

import numpy as np

from jaxnum._checks import as_array, check_positive, refuse
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.step_matrices import (
    FORMS,
    Measured,
    Side,
    dispersion,
    expected_energy,
    from_dense,
    measure,
    unitarity_defect,
)

_BANDS = ("lower off-diagonal", "diagonal", "upper off-diagonal")
_OFF = 1e-6  # relative deviation of a factor that is worth a word
_DENSE = 2000  # beyond that many rows the one-step matrix is not formed


def scheme(
    left: Any, right: Any, *, dx: float, dt: float, potential: Any = None, mass: float = 1.0, hbar: float = 1.0
) -> Diagnosis:
    """Examine the two matrices of a Crank-Nicolson step, left ψ(t + dt) = right ψ(t), row by row.

    Second differences, Numerov's rows and linear finite elements are recognized, with walls or on a ring.

    Args:
        left: Matrix that multiplies ψ(t + dt): dense (n, n), or bands (3, n) whose column j is row j in the order
            lower, diagonal, upper; `bands[0, 0]` and `bands[2, -1]` are then zero, or the corners of a ring.
        right: Matrix that multiplies ψ(t), in the same form.
        dx: Spacing of the uniform grid.
        dt: Time step.
        potential: V at the points, (n,). Without it V is read from the left matrix, and only the right one is held
            against it.
        mass: Particle mass.
        hbar: Reduced Planck constant.

    Returns:
        Diagnosis with findings `not-tridiagonal`, `swapped`, `time-step`, `kinetic-factor`, `complex-factor`,
        `off-diagonal`, `diagonal`, `potential-sign`, `potential-factor`, `potential-missing`, `potential-shifted`,
        `potential`, `entry`, `entries`, `corner` and `not-unitary`.

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
    for name, value in {"dx": dx, "dt": dt, "mass": mass, "hbar": hbar}.items():
        if np.ndim(value):
            refuse(name, "be one number: the grid and the steps are uniform", f"has shape {np.shape(value)}")
        check_positive(name, value)
    dx, dt, mass, hbar = float(dx), float(dt), float(mass), float(hbar)
    a, outside = _bands("left", left)
    b, outside_right = _bands("right", right)
    n = a.shape[1]
    if b.shape[1] != n:
        refuse("right", f"have {n} rows, as `left`", f"has {b.shape[1]}")
    if potential is not None:
        potential = np.asarray(as_array("potential", np.asarray(potential), shape=(n,)), float)
    subject = f"a Crank-Nicolson step on {n} points"
    if max(outside, outside_right) > 0:
        largest = max(outside, outside_right)
        message = f"Entries outside the three diagonals reach {largest:.3g}."
        cure = "Look for an index that is off by one; wider stencils are not read here."
        return Diagnosis(subject, (Finding("not-tridiagonal", message, {"largest": largest}, cure),))
    kinetic, step = hbar**2 / (2 * mass * dx**2), dt / hbar
    findings: list[Finding] = []
    measured = measure(a, b, kinetic, step, potential)
    if (found := swapped(measured)) is not None:
        findings.append(found)
        a, b = b, a
        measured = measure(a, b, kinetic, step, potential)
    for rule in RULES:
        findings += rule(measured)
    defect = unitarity_defect(a, b, measured.cyclic) if n <= _DENSE else None
    if not findings:
        findings += not_unitary(measured, defect)
    return Diagnosis(subject, tuple(findings), tuple(_notes(measured, defect, findings)), _tables(measured, dx))


def swapped(m: Measured) -> Finding | None:
    """Report left and right in each other's place."""
    factors = np.array([np.mean(side.kinetic) for side in m.sides])
    if not (np.abs(factors + 1) < 0.2).all():
        return None
    message = "Left and right are in each other's place: the step runs backward in time."
    cure = "The plus sign, 1 + i dt H/2ħ, belongs to the matrix that is solved with."
    return Finding("swapped", message, {"kinetic factor": factors.real}, cure)


def factors(m: Measured) -> list[Finding]:
    """Report a kinetic term that is too large or too small, throughout one side or both."""
    sides = [side if explained(m, side) else side._replace(kinetic=_known(m, side)) for side in m.sides]
    uniform = [_same(side.kinetic) for side in sides]
    off = [abs(np.mean(side.kinetic) - 1) > _tolerance(m) for side in sides]
    if all(uniform) and all(off) and abs(np.mean(m.sides[0].kinetic) - np.mean(m.sides[1].kinetic)) < _OFF:
        return [_scaled(m, m.sides[0], "both matrices")]
    found = []
    for side, same, wrong in zip(sides, uniform, off, strict=True):
        if same and wrong:
            found.append(_scaled(m, side, f"the {side.name} matrix"))
        elif not same:
            found += _one_band(m, side)
    return found


def explained(m: Measured, side: Side) -> bool:
    """Tell whether most diagonal entries of a side are what its factors make of them."""
    return bool(np.mean((np.abs(side.leftover[1]) <= 10 * m.noise)[m.inner[1]]) > 0.5)


def _known(m: Measured, side: Side) -> np.ndarray:
    """Return the kinetic factors that are known although the potential is another one."""
    if m.averaging:
        return np.ones(3)
    return side.kinetic[[0, 0, 2]] if _same(side.kinetic[[0, 2]]) else np.array([side.kinetic[0], 1, side.kinetic[2]])


def _scaled(m: Measured, side: Side, where: str) -> Finding:
    factor, v = complex(np.mean(side.kinetic)), side.potential
    evidence = {"kinetic factor": factor, "potential factor": v}
    if abs(factor.imag) > _tolerance(m):
        message = f"The kinetic term in {where} is multiplied by {factor:.4g}, not a real number: that is gain or loss."
        return Finding("complex-factor", message, evidence, "Look for a missing or doubled i.")
    if abs(factor + 1) < 1e-3:
        message = f"i has the wrong sign in {where}: it is the same as the other one."
        return Finding("time-step", message, evidence, "1 + i dt H/2ħ stands on the left, 1 - i dt H/2ħ on the right.")
    if m.given and not np.isnan(v) and abs(v - factor) < 10 * _OFF * abs(factor):
        message = f"Kinetic term and potential in {where} are {factor.real:.4g} times what they should be"
        half = " (dt where dt/2 belongs)" if abs(factor - 2) < 1e-3 else ""
        return Finding("time-step", message + f": the time step is wrong there{half}.", evidence, "Use i dt/2ħ.")
    twin = " Without a potential, dt in the place of dt/2 looks the same." if np.isnan(v) or not m.given else ""
    message = f"The kinetic term in {where} is {factor.real:.4g} times what it should be.{twin}"
    cure = "Beside the diagonal of H stands -ħ²/(2m dx²), on it ħ²/(m dx²); H is multiplied by i dt/2ħ."
    return Finding("kinetic-factor", message, evidence, cure)


def _one_band(m: Measured, side: Side) -> list[Finding]:
    found = []
    for band, factor in zip(_BANDS, side.kinetic, strict=True):
        if abs(factor - 1) <= _tolerance(m):
            continue
        index = _BANDS.index(band)
        rows = slice(2, -2)
        right = np.array([_should(m, side, index, row) for row in range(len(m.scale))])[rows]
        ratio = m.raw[side.name == "right"][index][rows] / np.where(right == 0, 1, right)
        whole = complex(np.median(ratio.real))
        if np.max(np.abs(ratio - whole)) < 1e-3:
            text = f"is {whole.real:.4g} times what it should be"
        else:
            text = f"has a kinetic term {factor.real if abs(factor.imag) < 1e-6 else factor:.4g} times the right one"
        message = f"The whole {band} of the {side.name} matrix {text}."
        cure = "The kinetic parts of a row add up to zero: minus one half, one, minus one half, times ħ²/(m dx²)."
        code = "diagonal" if band == "diagonal" else "off-diagonal"
        found.append(Finding(code, message, {"factor": factor, "side": side.name}, cure))
    return found


def potentials(m: Measured) -> list[Finding]:
    """Report a potential with a wrong sign or factor, a missing or a misplaced one."""
    found = []
    for side in m.sides:
        if not explained(m, side):
            found.append(_other_potential(m, side))
            continue
        v, q = side.potential, complex(np.mean(side.kinetic)) if _same(side.kinetic) else 1.0
        if np.isnan(v) or (m.given and abs(v - q) < 10 * _OFF * abs(q)):
            continue  # a wrong time step was reported already
        seen = float(np.max(np.abs(m.potential)))
        if abs(v - 1) > max(10 * _OFF, 10 * m.noise / seen):
            found.append(_potential_factor(m, side, complex(v)))
    if len(found) == 2 and found[0].code == found[1].code == "potential-sign":
        message = "The potential has the wrong sign in both matrices."
        return [Finding("potential-sign", message, found[0].evidence, "Use +V in H.")]
    if len(found) == 2 and found[0].code == found[1].code and found[0].code in ("potential", "potential-shifted"):
        first = found[0]
        return [Finding(first.code, first.message.replace("left matrix", "step"), first.evidence, first.cure)]
    return found


def _potential_factor(m: Measured, side: Side, v: complex) -> Finding:
    evidence = {"potential factor": v, "side": side.name}
    where = f"in the {side.name} matrix"
    other = "" if m.given else " (taking the left one as right: the two sides disagree)"
    if abs(v + 1) < 1e-3:
        message = f"The potential {where} has the wrong sign{other}: the two halves of the step cancel it."
        return Finding("potential-sign", message, evidence, "H holds +V on both sides; only the sign of i changes.")
    if abs(v) < 1e-3:
        message = f"The potential is missing {where}{other}."
        return Finding("potential-missing", message, evidence, "Add i dt V_j/2ħ with the sign of that side.")
    if abs(v.imag) < 1e-3 * abs(v):
        message = f"The potential {where} is {v.real:.4g} times what it should be{other}."
        return Finding("potential-factor", message, evidence, "It enters as i dt V_j/2ħ on the diagonal.")
    message = f"The potential {where} is multiplied by {v:.4g}, not a real number{other}."
    return Finding("complex-factor", message, evidence, "Look for a missing or doubled i.")


def _other_potential(m: Measured, side: Side) -> Finding:
    if m.given and (place := _shift(m, side)):
        message = f"The {side.name} matrix takes V from the point {'after' if place > 0 else 'before'} the right one."
        return Finding("potential-shifted", message, {"shift": place, "side": side.name}, "V_j belongs to row j.")
    read = (side.energy[1].real - 2 * m.kinetic) / (1 - 2 * m.averaging)
    row = int(np.argmax(np.abs(read - m.potential) * m.inner[1]))
    message = f"The {side.name} matrix acts with another potential: {read[row]:.4g} in row {row}, not "
    evidence = {"side": side.name, "row": row, "potential": read[row], "expected": m.potential[row]}
    return Finding("potential", message + f"{m.potential[row]:.4g}.", evidence, "Compare the two, point by point.")


def _shift(m: Measured, side: Side) -> int:
    diagonal = (side.energy[1] - 2 * m.kinetic) / (1 - 2 * m.averaging)
    for shift in (1, -1):
        rows = slice(2, -2)
        if np.median(np.abs(diagonal - np.roll(m.potential, -shift))[rows]) < 10 * m.noise:
            return shift
    return 0


def entries(m: Measured) -> list[Finding]:
    """Report single entries, where the bulk of the rows is right."""
    found = []
    for side, raw in zip(m.sides, m.raw, strict=True):
        wrong = (np.abs(side.leftover) > 10 * m.noise) & m.inner
        rows = np.flatnonzero(wrong.any(axis=0))
        if not explained(m, side) or not len(rows):
            continue
        if len(rows) > max(3, wrong.shape[1] // 4):
            found.append(_many(m, side, rows))
            continue
        found += [_entry(m, side, raw, int(row), wrong[:, row], len(rows)) for row in rows[:3]]
    return found


def _entry(m: Measured, side: Side, raw: np.ndarray, row: int, wrong: np.ndarray, count: int) -> Finding:
    band = int(np.argmax(np.abs(side.leftover[:, row]) * wrong))
    n = raw.shape[1]
    column = (row + band - 1) % n
    is_now, should = complex(raw[band, row]), complex(_should(m, side, band, row))
    off = f", {abs(is_now / should):.4g} times as large" if should else ""
    energy, _, _ = dispersion(*m.raw, 1.0, m.step)
    gain = float(energy[row].imag)
    does = f"; the row {'creates' if gain > 0 else 'destroys'} probability" if abs(gain) > 10 * m.noise else ""
    more = f" {count - 3} more rows have such entries." if count > 3 else ""
    name = f"{side.name}[{row}, {column}]"
    message = f"{name} is {_complex(is_now)}, not {_complex(should)}{off}{does}.{more}"
    evidence = {"row": row, "column": column, "value": is_now, "expected": should, "gain": gain}
    return Finding("entry", message, evidence, f"Set {name} to {_complex(should)}.")


def _many(m: Measured, side: Side, rows: np.ndarray) -> Finding:
    worst = int(np.argmax(np.abs(side.leftover * m.inner).max(axis=0)))
    largest = float(np.abs(side.leftover * m.inner).max())
    message = (
        f"{len(rows)} rows of the {side.name} matrix do not follow the others; the worst is row {worst}, off by "
        f"an energy of {largest:.3g}."
    )
    evidence = {"rows": len(rows), "row": worst, "energy": largest}
    return Finding("entries", message, evidence, "Compare them with the rows beside, entry by entry.")


def _should(m: Measured, side: Side, band: int, row: int) -> complex:
    """Return the entry as it would be, in the matrix as it was given."""
    sign = 1 if side.name == "left" else -1
    mean = m.averaging if band != 1 else 1 - 2 * m.averaging
    return m.scale[row] * (mean + sign * 0.5j * m.step * expected_energy(m)[band, row])


def corners(m: Measured) -> list[Finding]:
    """Report an end at which the two sides mean different walls, or one of them none."""
    if m.cyclic:
        return []
    found = []
    n = m.raw[0].shape[1]
    for end, row in ((0, 0), (1, n - 1)):
        left, right = (side.forms[end] for side in m.sides)
        a, b = (raw[1, row] for raw in m.raw)
        beside = 2 if end == 0 else 0
        paired = abs(b - a.conj()) + abs(m.raw[1][beside, row] - m.raw[0][beside, row].conj()) < m.noise * m.step
        if left == right and (left != "other" or paired):
            continue
        found.append(_corner(m, row, beside, left, right))
    return found


def _corner(m: Measured, row: int, beside: int, left: str, right: str) -> Finding:
    which = "first" if row == 0 else "last"
    (a, b), (a2, b2) = (raw[1, row] for raw in m.raw), (raw[beside, row] for raw in m.raw)
    next_row = row + (1 if row == 0 else -1)
    evidence = {"row": row, "left": complex(a), "right": complex(b), "left form": left, "right form": right}
    fixes = []
    # The right row of a wall is the conjugate of its left row.
    if left != "other":
        fixes.append(_set("right", row, next_row, b, a.conj(), b2, a2.conj()) + f" for {FORMS[left]}")
        evidence["right should be"] = complex(a.conj())
    if right != "other":
        fixes.append(_set("left", row, next_row, a, b.conj(), a2, b2.conj()) + f" for {FORMS[right]}")
        evidence["left should be"] = complex(b.conj())
    if not fixes:
        fixes.append("the right row to the conjugate of the left one")
    if "other" in (left, right):
        known = left if right == "other" else right
        name = "right" if right == "other" else "left"
        fits = "neither side fits any" if known == "other" else f"its {name} side does not fit {FORMS[known]}"
        message = f"The {which} row, {row}, is no wall: {fits}. What arrives there does not keep its probability."
        return Finding("corner", message, evidence, "Set " + ", or ".join(fixes) + ".")
    message = (
        f"The {which} row, {row}, is no wall at all: its left side is that of {FORMS[left]}, its right side "
        f"that of {FORMS[right]}. What arrives there does not keep its probability."
    )
    return Finding("corner", message, evidence, "Set " + ", or ".join(fixes) + ".")


def _set(name: str, row: int, next_row: int, is_now, should, beside_now, beside_should) -> str:
    parts = []
    if abs(is_now - should) > 1e-12 * abs(should):
        parts.append(f"{name}[{row}, {row}] to {_complex(should)} (now {_complex(is_now)})")
    if abs(beside_now - beside_should) > 1e-12 * abs(should):
        parts.append(f"{name}[{row}, {next_row}] to {_complex(beside_should)} (now {_complex(beside_now)})")
    return " and ".join(parts)


def not_unitary(m: Measured, defect: np.ndarray | None) -> list[Finding]:
    """Report probability that is not kept although no rule knows why."""
    if defect is None:
        return []
    eps = float(np.finfo(m.raw[0].dtype).eps)
    forms = {form for side in m.sides for form in side.forms}
    # A wall mirrored on its point is unitary with half a weight there, and a held point lets go of its neighbor.
    if "mirror" in forms or "held" in forms or m.averaging:
        return []
    worst = float(np.max(defect))
    if worst <= 1e4 * eps * (1 + m.step * m.kinetic):
        return []
    row = int(np.argmax(defect))
    message = f"One step does not keep probability: U†U - 1 reaches {worst:.3g}, in row {row}."
    return [Finding("not-unitary", message, {"defect": worst, "row": row}, "The right matrix is the left's conjugate.")]


RULES = (factors, potentials, entries, corners)


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
    if not m.given and m.potential.any():
        low, high = m.potential.min(), m.potential.max()
        notes.append(f"No potential was given; the left matrix holds one from {low:.4g} to {high:.4g}.")
    if defect is not None and np.isfinite(defect).all():
        row = int(np.argmax(defect))
        notes.append(f"One step misses unitarity by {defect[row]:.3g} (largest entry of U†U - 1, in row {row}).")
    return notes


def _tables(m: Measured, dx: float) -> tuple[Table, ...]:
    energy, drift, curvature = dispersion(*(raw.astype(complex) for raw in m.raw), dx, m.step)
    n = len(energy)
    inverse_mass = curvature / (2 * m.kinetic * dx**2)
    wrong = np.flatnonzero(
        ((np.abs(m.sides[0].leftover) + np.abs(m.sides[1].leftover)) * m.inner).max(axis=0) > m.noise
    )
    rows = sorted({1, n // 4, n // 2, 3 * n // 4, n - 2, *wrong[:5].tolist()})
    cells = tuple(
        (j, m.potential[j], energy[j].real, inverse_mass[j].real, drift[j].real, energy[j].imag) for j in rows
    )
    columns = ("row", "potential", "acts with", "mass/effective mass", "drift", "gain")
    return (Table("What single rows do to a long wave", columns, cells),)


def _same(values: np.ndarray) -> bool:
    return bool(np.ptp(values.real) + np.ptp(values.imag) < _OFF * max(1.0, float(np.max(np.abs(values)))))


def _tolerance(m: Measured) -> float:
    return max(_OFF, 10 * m.noise / m.kinetic)


def _complex(z: complex) -> str:
    return f"{z.real:.6g}{z.imag:+.6g}i"


def _bands(name: str, matrix: Any) -> tuple[np.ndarray, float]:
    """Return the bands (3, n) of a matrix given in either form, and the largest entry outside of them."""
    array = np.asarray(matrix)
    if array.ndim != 2 or array.dtype.kind not in "fc":
        what = f"has shape {array.shape}" if array.ndim != 2 else f"has dtype {array.dtype}"
        refuse(name, "be a matrix (n, n) or bands (3, n) of floating-point numbers", what)
    if not np.isfinite(array).all():
        refuse(name, "be finite", f"holds {array[~np.isfinite(array)].flat[0]}")
    array = array.astype(np.result_type(array.dtype, np.complex64))
    if array.shape[0] == 3 and array.shape[1] >= 7:
        return array, 0.0
    if array.shape[0] != array.shape[1] or len(array) < 7:
        refuse(name, "be a matrix (n, n) or bands (3, n) with at least 7 points", f"has shape {array.shape}")
    return from_dense(array)
