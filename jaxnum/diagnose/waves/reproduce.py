"""Lines that compute the numbers of `scheme` and `wavefunction` again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnum.diagnose.report import Finding
from jaxnum.diagnose.reproduce import block, called
from jaxnum.diagnose.waves.step_matrices import Measured, expected_energy

_NUMPY = "import numpy as np"
_KINETIC = ("swapped", "time-step", "kinetic-factor", "off-diagonal", "entries")


@dataclass(frozen=True)
class Given:
    """What `scheme` was asked about.

    Attributes:
        left: Left matrix or step function.
        right: Right matrix.
        spacing: Of the grid.
        dt: Time step.
        mass: Particle mass.
        hbar: Reduced Planck constant.
        size: Number of points.
    """

    left: Any
    right: Any
    spacing: Any
    dt: float
    mass: float
    hbar: float
    size: int

    @property
    def step(self) -> str:
        """dt/ħ as text."""
        return "dt" if self.hbar == 1 else f"dt / {self.hbar!r}"

    def matrices(self) -> list[str]:
        """Lines after which `left` and `right` are arrays."""
        if not callable(self.left):
            return [_NUMPY]
        return [
            _NUMPY,
            "from jaxnum.diagnose.waves import step_function",
            self.propagator(),
            f"left, right = step_function.as_matrices(u, {self.step})",
        ]

    def propagator(self) -> str:
        """The line after which `u` is the matrix of a step function."""
        return f"u = np.stack([{called(self.left, 'left')}(e) for e in np.eye({self.size}, dtype=complex)], axis=1)"

    def entry(self, side: str, row: int, column: int) -> str:
        """One entry of a matrix, dense or in bands."""
        shape = np.shape(self.left)
        if callable(self.left) or (shape[0] == 3 and shape[1] != 3):
            band = {0: 1, 1: 2, self.size - 1: 0}[(column - row) % self.size]
            return f"np.asarray({side})[{band}, {row}]"
        return f"np.asarray({side})[{row}, {column}]"


def of_matrices(given: Given, m: Measured, exchanged: bool, pade: bool) -> Callable[[Finding], tuple[str, dict]]:
    """Return what writes the lines for findings about rows: an entry as it is and as it must be."""

    def write(finding: Finding) -> tuple[str, dict[str, Any]]:
        evidence = finding.evidence
        if finding.code == "not-unitary":
            if callable(given.left):
                start = [_NUMPY, given.propagator()]
            elif np.shape(given.left)[0] == 3:
                wide = f"to_dense(np.asarray({{}}), {m.cyclic})"
                start = [_NUMPY, "from jaxnum.diagnose.waves.step_matrices import to_dense"]
                start.append(f"u = np.linalg.solve({wide.format('left')}, {wide.format('right')})")
            else:
                start = [_NUMPY, "u = np.linalg.solve(left, right)"]
            return block(*start, "print(abs(u.conj().T @ u - np.eye(len(u))).max())  # defect"), {}
        names = ("right", "left") if exchanged else ("left", "right")
        if finding.code == "corner":
            entries = ", ".join(given.entry(name, evidence["row"], evidence["row"]) for name in names)
            return block(*given.matrices(), f"print({entries})  # left, right"), {}
        told: dict[str, Any] = {}
        if finding.code == "entry":
            side = 0 if finding.message.startswith("left") else 1
            row, column = evidence["row"], evidence["column"]
        elif finding.code == "gain":
            side, row, column = 0, evidence["row"], evidence["row"]
            told = {"value": complex(m.raw[0][1, row])}
        else:
            side, band, row = _telling(m, finding)
            n = m.raw[0].shape[1]
            column = (row + band - 1) % n
            told = {"row": row, "column": column, "value": complex(m.raw[side][band, row])}
            told["expected"] = complex(_should(m, side)[band, row])
        name = names[side]
        if finding.code == "swapped":  # what is called left there is what the user calls right
            told["value"], name = complex(m.raw[1][band, row]), "left"
        entry = given.entry(name, row, column)
        formula = "" if pade or finding.code == "gain" else _formula(given, m, side, row, column)
        if not formula:
            return block(*given.matrices(), f"print({entry})  # value"), told
        return block(*given.matrices(), f"print({entry}, {formula})  # value, expected"), told

    return write


def _should(m: Measured, side: int) -> np.ndarray:
    mean = np.array([m.averaging, 1 - 2 * m.averaging, m.averaging])[:, None]
    return m.scale * (mean + (0.5j, -0.5j)[side] * m.step * expected_energy(m))


def _telling(m: Measured, finding: Finding) -> tuple[int, int, int]:
    """Return side, band and row of the entry that shows a finding most."""
    told = finding.evidence.get("side", "")
    side = {"left": 0, "right": 1}.get(told)
    if side is None:
        side = 1 if "right matrix" in finding.message or "the right one" in finding.message else 0
    if finding.code == "swapped":
        return 0, 2, m.raw[0].shape[1] // 2
    gap = np.abs(m.raw[side] - _should(m, side)) * m.inner
    kinetic = finding.code in _KINETIC or (finding.code == "complex-factor" and "kinetic factor" in finding.evidence)
    bands = [0, 2] if kinetic and finding.code != "entries" else [0, 1, 2] if finding.code == "entries" else [1]
    if finding.code == "entries":
        row = finding.evidence["row"]
        return side, int(np.argmax(gap[:, row])), row
    mask = np.zeros_like(gap)
    mask[bands] = 1
    band, row = np.unravel_index(int(np.argmax(gap * mask)), gap.shape)
    return side, int(band), int(row)


def _formula(given: Given, m: Measured, side: int, row: int, column: int) -> str:
    """The right entry of plain second differences as text; nothing where rows are of another kind."""
    if m.averaging or not m.given or not np.all(m.scale == 1) or np.ndim(given.spacing):
        return ""
    sign = "+" if side == 0 else "-"
    double = given.hbar**2 / given.mass
    kinetic = "1 / dx**2" if double == 1 else f"{double!r} / dx**2"
    if row == column:
        return f"1 {sign} 0.5j * {given.step} * ({kinetic} + potential[{row}])"
    return f"{'-' if side == 0 else ''}0.5j * {given.step} * {kinetic} / 2"


def of_scheme(given: Given) -> Callable[[Finding], tuple[str, dict]]:
    """Return what writes the lines for findings about whole matrices or a step function."""
    step, n = called(given.left, "left"), given.size

    def write(finding: Finding) -> tuple[str, dict[str, Any]]:
        evidence, code = finding.evidence, finding.code
        if code == "not-complex" and not callable(given.left):
            return "import numpy as np\nprint(np.isrealobj(left) or np.isrealobj(right))  # real", {"real": True}
        if code == "not-tridiagonal":
            start = "from jaxnum.diagnose.waves.step_matrices import from_dense"
            last = "print(max(from_dense(np.asarray(m, complex))[1] for m in (left, right)))  # largest"
            return block(_NUMPY, start, last), {}
        if code == "padding":
            side = evidence["side"]
            if "corners" in evidence:
                corners = f"np.asarray({side})[0, 0], np.asarray({side})[2, -1]"
                first, last = evidence["corners"]
                return block(_NUMPY, f"print({corners})  # first, last"), {"first": first, "last": last}
            place = {"lower": (0, 0), "upper": (2, n - 1)}[evidence["band"]]
            value = complex(np.asarray(given.left if side == "left" else given.right)[place])
            return block(_NUMPY, f"print(np.asarray({side})[{place[0]}, {place[1]}])  # value"), {"value": value}
        if code == "non-uniform":
            spacings = "np.diff(dx)" if np.size(given.spacing) == n else "np.asarray(dx)"
            return block(_NUMPY, f"h = {spacings}", "print(h.min(), h.max())  # smallest, largest"), {}
        if code == "not-complex" and "dtype" in evidence:
            return block(_NUMPY, f"print({step}(np.ones({n}, complex)).dtype)  # dtype"), {}
        if code in ("not-linear", "not-complex"):
            # The same vector as everywhere: generic, and of length about one.
            start = f"f = np.exp(1j * np.arange({n}) ** 2) / {n} ** 0.5"
            factor = "2" if code == "not-linear" else "1j"
            last = f"print(np.linalg.norm({step}({factor} * f) - {factor} * {step}(f)))  # lack"
            f = np.exp(1j * np.arange(n) ** 2) / n**0.5
            by = 2 if code == "not-linear" else 1j
            lack = float(np.linalg.norm(np.asarray(given.left(by * f)) - by * np.asarray(given.left(f))))
            return block(_NUMPY, start, last), {"lack": lack}
        if code == "nonfinite":
            j = evidence["point"]
            last = f"print(np.isfinite({step}(np.eye({n}, dtype=complex)[{j}])).all())  # finite"
            return block(_NUMPY, last), {"finite": False}
        if code == "not-unitary":
            return block(_NUMPY, given.propagator(), "print(abs(u.conj().T @ u - np.eye(len(u))).max())  # defect"), {}
        kinetic = repr(given.hbar**2 / (2 * given.mass))
        last = f"w = weigh(u, {kinetic} / dx**2, {given.step}, np.asarray(potential))"
        return block(
            _NUMPY,
            "from jaxnum.diagnose.waves.step_function import weigh",
            given.propagator(),
            last,
            "print(w.kinetic, w.potential)  # kinetic factor, potential factor",
        ), {}

    return write


def of_run(potential: Any, mass: float, hbar: float, dt: float | None, nonlinearity: float) -> Callable:
    """Return what writes the lines for findings about the arrays of a finished run."""
    v = "0 * x" if potential is None else "np.asarray(potential)"
    mu = "" if mass == 1 else f" / {mass!r}"
    more = f", {mass!r}, {hbar!r}, {nonlinearity!r}" if (mass, nonlinearity) != (1, 0) else f", {hbar!r}"

    def using(*names: str) -> list[str]:
        return [_NUMPY, f"from jaxnum.diagnose.waves.finished_run import {', '.join(names)}"]

    moments = f"m = measure(np.asarray(psi, complex), np.asarray(x), {v}{more})"

    def write(finding: Finding) -> tuple[str, dict[str, Any]]:
        e, code = finding.evidence, finding.code
        row = e.get("row", 0)
        if code == "nonfinite":
            return block(_NUMPY, "print(np.argmin(np.isfinite(psi).all(axis=1)))  # row"), {}
        if code == "not-complex":
            return block(_NUMPY, "print(np.abs(np.imag(psi[1:])).max())  # imaginary part"), {"imaginary part": 0.0}
        if code == "non-uniform":
            return block(_NUMPY, "print(np.diff(x).min(), np.diff(x).max())  # smallest, largest"), {}
        if code == "boundary":
            return block(
                _NUMPY,
                "p, w = abs(np.asarray(psi)[0]) ** 2 * np.gradient(x), max(2, len(x) // 50)",
                "print((p[:w].sum() + p[-w:].sum()) / p.sum())  # probability",
            ), {}
        if code == "aliasing":
            return block(*using("spectrum"), "print(spectrum(np.asarray(psi), np.asarray(x)).short)  # part"), {}
        if code == "time-step":
            turn = f"{e['lifted']!r}"
            if e["waves"]:
                kinetic = "k**2 / 2" if hbar == mass == 1 else f"({hbar!r} * k) ** 2 / {2 * mass!r}"
                turn = f"({kinetic} + {e['lifted']!r})" if e["lifted"] else f"({kinetic})"
            return block(
                *using("spectrum"),
                "k = spectrum(np.asarray(psi), np.asarray(x)).fastest",
                f"print({dt!r} * {turn}{'' if hbar == 1 else f' / {hbar!r}'})  # phase",
            ), {}
        if code in ("wrapped", "continuity"):
            last = "print(np.abs(flow.seam).max())" if code == "wrapped" else f"print(flow.jump[{e['row']}])"
            return block(
                *using("continuity"),
                f"flow = continuity(np.asarray(psi, complex), np.asarray(x), np.asarray(t), {v}, {hbar!r}, {mass!r})",
                f"{last}  # probability",
            ), {}
        if code == "norm" and "drift" in e:
            return block(
                _NUMPY,
                "norm = np.sqrt(abs(np.asarray(psi)) ** 2 @ np.gradient(x))",
                f"print(norm[{row}] / norm[0] - 1)  # drift",
            ), {}
        if code == "norm":
            absorbed = "integral(m.absorbed * m.norm**2, np.asarray(t))"
            return block(
                *using("measure", "integral"),
                moments,
                f"off = m.norm**2 / m.norm[0] ** 2 - 1 + {absorbed} / m.norm[0] ** 2",
                f"print(off[{row}])  # off by",
            ), {}
        if code in ("ehrenfest", "coarse-grid"):
            which = "position" if "position off by" in e else "momentum"
            pushed = "m.momentum" if which == "position" else "m.force"
            per = mu if which == "position" else ""
            return block(
                *using("measure", "integral"),
                moments,
                f"off = m.{which} - m.{which}[0] - integral({pushed}, np.asarray(t)){per}",
                f"print(off[{row}])  # {which} off by",
            ), {}
        if code == "spreading" and "relative error" in e:
            return block(
                *using("measure", "integral"),
                moments,
                f"square = m.width[0] ** 2 + 2 * integral(m.covariance, np.asarray(t)){mu}",
                f"print(1 - np.sqrt(max(square[{row}], 0)) / m.width[{row}])  # relative error",
            ), {}
        if code == "energy":
            return block(
                *using("measure"),
                moments,
                "exchanged = m.kinetic[m.alone].max() + np.ptp(m.energy - m.kinetic)",
                f"print((m.energy[{row}] - m.energy[0]) / exchanged)  # relative",
            ), {}
        frequency = "0.0" if e["frequency"] == 0 else repr(e["frequency"])
        return block(
            _NUMPY,
            "from jaxnum.diagnose.waves.wavefunction import exact_rows, fit_gaussian, measure",
            moments,
            f"start = fit_gaussian(np.asarray(psi)[0], np.asarray(x), m, {hbar!r})",
            f"rows = exact_rows(np.asarray(x), np.asarray(t), start, {frequency}, {mass!r}, {hbar!r})",
            f"print(np.sqrt(abs(psi[{row}] - rows[{row}]) ** 2 @ np.gradient(x)) / m.norm[0])  # distance",
        ), {}

    return write
