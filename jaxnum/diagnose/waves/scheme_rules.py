"""What a Crank-Nicolson step can have wrong: each rule looks at the measurements and returns its findings."""

import numpy as np

from jaxnum.diagnose.report import Finding
from jaxnum.diagnose.waves.step_matrices import FORMS, Measured, Side, dispersion, expected_energy

_BANDS = ("lower off-diagonal", "diagonal", "upper off-diagonal")
_OFF = 1e-6  # relative deviation of a factor that is worth a word


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
    uniform = [same(side.kinetic) for side in sides]
    off = [abs(np.mean(side.kinetic) - 1) > _tolerance(m) for side in sides]
    if all(uniform) and all(off) and abs(np.mean(m.sides[0].kinetic) - np.mean(m.sides[1].kinetic)) < _OFF:
        return [_scaled(m, m.sides[0], "both matrices")]
    found = []
    for side, even, wrong in zip(sides, uniform, off, strict=True):
        if even and wrong:
            found.append(_scaled(m, side, f"the {side.name} matrix"))
        elif not even:
            found += _one_band(m, side)
    return found


def explained(m: Measured, side: Side) -> bool:
    """Tell whether most diagonal entries of a side are what its factors make of them."""
    return bool(np.mean((np.abs(side.leftover[1]) <= 10 * m.noise)[m.inner[1]]) > 0.5)


def _known(m: Measured, side: Side) -> np.ndarray:
    """Return the kinetic factors that are known although the potential is another one."""
    if m.averaging:
        return np.ones(3)
    return side.kinetic[[0, 0, 2]] if same(side.kinetic[[0, 2]]) else np.array([side.kinetic[0], 1, side.kinetic[2]])


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
        v, q = side.potential, complex(np.mean(side.kinetic)) if same(side.kinetic) else 1.0
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
    read = (side.energy[1] - 2 * m.kinetic) / (1 - 2 * m.averaging)
    row = int(np.argmax(np.abs(read - m.potential) * m.inner[1]))
    is_now, should = _short(read[row]), _short(m.potential[row])
    message = f"The {side.name} matrix acts with another potential: {is_now} in row {row}, not {should}."
    evidence = {"side": side.name, "row": row, "potential": read[row], "expected": m.potential[row]}
    return Finding("potential", message, evidence, "Compare the two, point by point.")


def _shift(m: Measured, side: Side) -> int:
    diagonal = (side.energy[1] - 2 * m.kinetic) / (1 - 2 * m.averaging)
    for shift in (1, -1):
        rows = slice(2, -2)
        if np.median(np.abs(diagonal - np.roll(m.potential, -shift))[rows]) < 10 * m.noise:
            return shift
    return 0


def absorption(m: Measured) -> list[Finding]:
    """Report an imaginary potential that one side takes back, or that creates probability."""
    if m.undone:
        message = f"An absorbing potential, up to {m.undone:.4g}, stands in the left matrix; the right one undoes it."
        cure = "With an absorber the right matrix is 1 - i dt H/2ħ with the same complex H, no conjugate of the left."
        return [Finding("absorber", message, {"largest": m.undone}, cure)]
    if not m.found_absorption:
        return []
    row = int(np.argmax(m.potential.imag))
    if m.potential.imag[row] <= 10 * m.noise:
        return []
    message = f"The potential has the imaginary part {m.potential.imag[row]:+.4g} in row {row}: it creates probability."
    cure = "An absorber is -iW with W ≥ 0."
    return [Finding("gain", message, {"row": row, "imaginary part": m.potential.imag[row]}, cure)]


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
    message = f"{name} is {show_complex(is_now)}, not {show_complex(should)}{off}{does}.{more}"
    evidence = {"row": row, "column": column, "value": is_now, "expected": should, "gain": gain}
    return Finding("entry", message, evidence, f"Set {name} to {show_complex(should)}.")


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
        mean = m.scale[row] * np.array([m.averaging, 1 - 2 * m.averaging, m.averaging])
        # The same G on both sides, whatever it is: left + right = 2M.
        same = abs(a + b - 2 * mean[1]) + abs(m.raw[0][beside, row] + m.raw[1][beside, row] - 2 * mean[beside])
        paired = abs(b - a.conj()) + abs(m.raw[1][beside, row] - m.raw[0][beside, row].conj())
        paired = min(paired, same) < m.noise * abs(m.step * m.scale[row])
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
        parts.append(f"{name}[{row}, {row}] to {show_complex(should)} (now {show_complex(is_now)})")
    if abs(beside_now - beside_should) > 1e-12 * abs(should):
        parts.append(f"{name}[{row}, {next_row}] to {show_complex(beside_should)} (now {show_complex(beside_now)})")
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


def same(values: np.ndarray) -> bool:
    """Tell whether all factors are one number."""
    return bool(np.ptp(values.real) + np.ptp(values.imag) < _OFF * max(1.0, float(np.max(np.abs(values)))))


def _tolerance(m: Measured) -> float:
    return max(_OFF, 10 * m.noise / m.kinetic)


def _short(z: complex) -> str:
    return f"{z.real:.4g}" if abs(z.imag) < 1e-6 * abs(z) + 1e-12 else f"{z.real:.4g}{z.imag:+.4g}i"


def show_complex(z: complex) -> str:
    """Return a matrix entry as it is printed."""
    return f"{z.real:.6g}{z.imag:+.6g}i"


RULES = (factors, potentials, absorption, entries, corners)
