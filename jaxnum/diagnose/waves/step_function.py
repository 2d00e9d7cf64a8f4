"""A step function as numbers: what one call of somebody's `step(psi)` does to unit vectors and to long waves.

Of a linear step U the Cayley form takes back the Hamiltonian,

    G = (2ħ/i dt) (1 - U) (1 + U)⁻¹,

which is tridiagonal when the step is Crank and Nicolson's; then its rows can be read one by one. Any other step is
weighed as a whole: with φ = (f + Uf)/2 for smooth packets f,

    (iħ/dt) (Uf - f) = G φ ≈ κ (-ħ²/2m) φ'' + ν V φ,

up to the squared phase of a step, and κ and ν should be one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxnum._checks import refuse
from jaxnum.diagnose.report import Finding
from jaxnum.diagnose.waves.step_matrices import from_dense, to_dense

_LARGEST = 2000  # points; the function is called once for each, and a dense matrix is inverted
_FACTOR = 0.05  # deviation of a factor that is worth a word: long waves show it to about a per cent


class Weighed(NamedTuple):
    """What a step does to smooth packets, and how well probability is kept."""

    kinetic: complex  # κ
    potential: complex  # ν; NaN where there is no potential to see
    misfit: float  # part of Gφ that neither explains
    defect: np.ndarray  # (n,), largest entry of U†U - 1 in each row
    gain: float  # largest and smallest eigenvalue of U†U - 1
    loss: float


def probe(step: Callable, n: int) -> tuple[np.ndarray, Finding | None]:
    """Return the matrix of a step (n, n), and what is wrong already: not finite, not complex, not linear."""
    if n > _LARGEST:
        refuse("left", f"be looked at on at most {_LARGEST} points when it is a function", f"has {n}")
    unit = np.eye(n, dtype=complex)
    first = _call(step, unit[0], n)
    if first.dtype.kind != "c":
        message = "The step returns real numbers: the imaginary part of what it computes is lost."
        return unit, Finding("not-complex", message, {"dtype": str(first.dtype)}, KEEP_COMPLEX)
    columns = [first, *(_call(step, unit[j], n) for j in range(1, n))]
    u = np.stack(columns, axis=1).astype(complex)
    if not np.isfinite(u).all():
        column = int(np.argmin(np.isfinite(u).all(axis=0)))
        message = f"The step of a unit vector at point {column} is not finite."
        return u, Finding("nonfinite", message, {"point": column}, "Look for a division by zero or a singular matrix.")
    rng = np.random.default_rng(0)
    f = (rng.normal(size=n) + 1j * rng.normal(size=n)) / np.sqrt(n)
    size = float(np.linalg.norm(f))
    turned = np.linalg.norm(_call(step, 1j * f, n) - 1j * _call(step, f, n)) / size
    whole = np.linalg.norm(_call(step, f, n) - u @ f) / size
    doubled = np.linalg.norm(_call(step, 2 * f, n) - 2 * _call(step, f, n)) / size
    if turned > 1e-6 and doubled < 1e-6:
        message = f"step(iψ) is not i step(ψ): they differ by {turned:.3g} of ψ."
        return u, Finding("not-complex", message, {"difference": turned}, KEEP_COMPLEX)
    if max(whole, doubled) > 1e-6:
        message = f"The step is not linear: step(2ψ) differs from 2 step(ψ) by {max(whole, doubled):.3g} of ψ."
        cure = "Look for a normalization inside the step, or pass the linear part alone."
        return u, Finding("not-linear", message, {"difference": max(whole, doubled)}, cure)
    return u, None


KEEP_COMPLEX = "Make the arrays complex before they are filled; assigning to a real one drops the imaginary part."


def as_matrices(u: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Return left and right bands of the Crank-Nicolson step that u is, or None if it is none. `step` is dt/ħ."""
    n = len(u)
    held = (np.abs(u) == 0).all(axis=1)
    u = np.where(held[:, None], np.eye(n), u)  # a point that is held at zero takes no part
    try:
        energy = 2 / (1j * step) * np.linalg.solve((np.eye(n) + u).T, (np.eye(n) - u).T).T
    except np.linalg.LinAlgError:
        return None
    for side, cyclic in ((0.0, False), (1 / 12, False), (1 / 12, True)):
        mean = np.array([[side], [1 - 2 * side], [side]]) * np.ones((1, n))
        m = to_dense(mean, cyclic)
        bands, outside = from_dense(m @ energy)
        # Inverting 1 + U loses digits where phases come close to half a turn.
        if outside < 1e-7 * np.max(np.abs(bands)):
            bands[np.abs(bands) < 1e-7 * np.max(np.abs(bands))] = 0
            averaging, _ = from_dense(m)
            return averaging + 0.5j * step * bands, averaging - 0.5j * step * bands
    return None


def weigh(u: np.ndarray, kinetic: float, step: float, potential: np.ndarray) -> Weighed:
    """Measure the factors of both parts of H on smooth packets; `kinetic` is ħ²/2m dx² and `step` dt/ħ."""
    n = len(u)
    place = np.arange(n)
    designs, targets = [], []
    width = max(4.0, n / 14)
    seen = np.ptp(potential.real) > 1e-9 * kinetic or np.abs(potential).max() > 1e-9 * kinetic
    for center in np.linspace(0.3, 0.7, 5) * (n - 1):
        for wave in (-1.0, 0.0, 1.0):
            f = np.exp(-((place - center) ** 2) / (4 * width**2) + 1j * wave * (place - center) / width)
            moved = u @ f
            phi, target = (f + moved) / 2, (moved - f) * 1j / step
            bent = np.zeros(n, complex)
            bent[2:-2] = (
                -phi[4:] + 16 * phi[3:-1] - 30 * phi[2:-2] + 16 * phi[1:-3] - phi[:-4]
            ) / 12  # fourth order: long waves see no error of it
            columns = [-kinetic * bent] + ([potential * phi] if seen else [])
            inside = slice(2, -2)
            designs.append(np.stack([c[inside] for c in columns], axis=1))
            targets.append(target[inside])
    design, target = np.concatenate(designs), np.concatenate(targets)
    found = np.linalg.lstsq(design, target, rcond=None)[0]
    misfit = float(np.linalg.norm(target - design @ found) / np.linalg.norm(target))
    gram = u.conj().T @ u - np.eye(n)
    held = (np.abs(u) == 0).all(axis=0) | (np.abs(u) == 0).all(axis=1)
    gram[held], gram[:, held] = 0, 0
    values = np.linalg.eigvalsh(gram)
    return Weighed(
        complex(found[0]),
        complex(found[1]) if seen else complex(np.nan),
        misfit,
        np.abs(gram).max(axis=1),
        float(values[-1]),
        float(values[0]),
    )


def judge(w: Weighed) -> tuple[list[Finding], list[str]]:
    """Put into words what was weighed."""
    k, v = w.kinetic, w.potential
    evidence = {"kinetic factor": k, "potential factor": v}
    told = "" if np.isnan(v) else f" and of the potential {_number(v)}"
    notes = [f"Weighed on long waves, the factor of the kinetic term is {_number(k)}{told}; both should be 1."]
    findings = _factors(k, v, evidence)
    if not findings and w.misfit > 2 * _FACTOR:
        message = f"{w.misfit:.0%} of what the step does to long waves is neither kinetic energy nor this potential."
        findings.append(Finding("potential", message, evidence, "Compare the potential in the step, point by point."))
    worst, row = float(w.defect.max()), int(np.argmax(w.defect))
    if worst <= 1e-9:
        return findings, [*notes, f"One step keeps probability to {worst:.2g} (largest entry of U†U - 1)."]
    lossy = np.flatnonzero(w.defect > 1e-9)
    if w.gain < 1e-9 and len(lossy) >= 5:
        return findings, [*notes, f"The step absorbs: it loses up to {-w.loss:.3g} of the probability, and gains none."]
    what = "creates" if w.gain > -w.loss else "destroys"
    message = f"One step {what} probability: U†U - 1 reaches {worst:.3g}, in row {row}."
    cure = "The right matrix must be the conjugate of the left one; look at the entries of that row."
    findings.append(Finding("not-unitary", message, {"defect": worst, "row": row, "gain": w.gain}, cure))
    return findings, notes


def _factors(k: complex, v: complex, evidence: dict) -> list[Finding]:
    if abs(k - 1) <= _FACTOR and (np.isnan(v) or abs(v - 1) <= _FACTOR):
        return []
    if abs(k + 1) <= _FACTOR and (np.isnan(v) or abs(v + 1) <= _FACTOR):
        cure = "The plus sign, 1 + i dt H/2ħ, belongs to the matrix that is solved with."
        return [Finding("swapped", "The step runs backward in time.", evidence, cure)]
    if abs(k.imag) > _FACTOR * abs(k) + _FACTOR:
        message = f"The kinetic term is multiplied by {_number(k)}, not a real number: that is gain or loss."
        return [Finding("complex-factor", message, evidence, "Look for a missing or doubled i.")]
    if not np.isnan(v) and abs(k - v) <= _FACTOR * abs(k):
        half = " (dt where dt/2 belongs)" if abs(k - 2) <= 2 * _FACTOR else ""
        message = (
            f"Kinetic term and potential are {k.real:.3g} times what they should be: the time step is wrong{half}."
        )
        return [Finding("time-step", message, evidence, "Use i dt/2ħ.")]
    found = []
    if abs(k - 1) > _FACTOR:
        twin = " Without a potential, a wrong time step looks the same." if np.isnan(v) else ""
        message = f"The kinetic term is {k.real:.3g} times what it should be.{twin}"
        found.append(Finding("kinetic-factor", message, evidence, "Beside the diagonal of H stands -ħ²/(2m dx²)."))
    if np.isnan(v) or abs(v - 1) <= _FACTOR:
        return found
    if abs(v + 1) <= _FACTOR:
        return [*found, Finding("potential-sign", "The potential has the wrong sign.", evidence, "Use +V in H.")]
    if abs(v) <= _FACTOR:
        message = "The potential has no effect: it is missing, or has opposite signs in the two halves of the step."
        return [*found, Finding("potential-missing", message, evidence, "H holds +V on both sides.")]
    message = f"The potential is multiplied by {_number(v)}."
    return [*found, Finding("potential-factor", message, evidence, "It enters as i dt V_j/2ħ on the diagonal.")]


def _call(step: Callable, psi: np.ndarray, n: int) -> np.ndarray:
    out: Any = np.asarray(step(psi.copy()))
    if out.dtype.kind not in "fc":
        refuse("left", "return an array of complex numbers", f"returns dtype {out.dtype}")
    if out.shape != (n,):
        refuse("left", f"return shape ({n},)", f"returns shape {out.shape}")
    return out


def _number(z: complex) -> str:
    return f"{z.real:.3g}" if abs(z.imag) < 0.01 * abs(z) + 1e-3 else f"{z.real:.3g}{z.imag:+.3g}i"
