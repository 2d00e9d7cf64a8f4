"""Lines that compute the numbers of `fixed_point`, `boundary_conditions` and `smoothing` again."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxnum.diagnose.report import Finding
from jaxnum.diagnose.reproduce import block, called

_NUMPY = "import numpy as np"
_LOOK = "from jaxnum.diagnose.iterations.fixed_point import "


def of_fixed_point(
    update: Callable, x: np.ndarray, relaxation: float, num_vectors: int, num_passes: int, refine: Any, unsmoothed: Any
) -> Callable[[Finding], tuple[str, dict]]:
    """Return what writes the lines for findings about an iteration."""
    name, a = called(update, "update"), f"{float(relaxation):g}"
    flat = x.ndim == 1 and hasattr(update(x), "reshape")
    at = "np.asarray(x, float)" + ("" if x.ndim == 1 else ".ravel()")

    def one(function: str) -> str:
        if flat:
            return function
        return f"lambda v: np.asarray({function}(v.reshape({x.shape}))).ravel()"

    options = "" if relaxation == 1 else f", relaxation={a}"
    options += "" if num_vectors == 24 or x.size <= 256 else f", num_vectors={num_vectors}"
    passes = "" if num_passes == 40 else f", num_passes={num_passes}"
    look = f"look = linearized({one(name)}, {at}{options}{passes})"
    mixed = f"np.asarray({name}(x))" if relaxation == 1 else f"{1 - relaxation:g} * x + {a} * np.asarray({name}(x))"

    def write(finding: Finding) -> tuple[str, dict[str, Any]]:
        code = finding.code
        if code == "nonfinite-update":
            return block(_NUMPY, f"print((~np.isfinite({name}(np.asarray(x, float)))).sum())  # count"), {}
        if code == "inconclusive":
            return block(
                _NUMPY,
                "from jaxnum.numerics.fixed_point import linearize",
                f"print(linearize({one(name)}, {at}).error)  # disagreement",
            ), {}
        if code == "unstable-iteration":
            return block(_NUMPY, _LOOK + "linearized", look, "print(look.growth)  # growth_per_pass"), {}
        if code == "unbounded-map":
            n0, n1 = finding.evidence["sizes"]
            return block(
                _NUMPY,
                _LOOK + "growth_at",
                f"r = [growth_at(*{called(refine, 'refine')}(n)) for n in ({n0}, {n1})]",
                f"print(np.log(r[1] / r[0]) / np.log({n1} / {n0}))  # exponent",
            ), {}
        if code in ("limit-cycle", "does-not-settle"):
            return block(
                _NUMPY,
                "x = np.asarray(x, float)",
                f"for _ in range({num_passes}):",
                f"    old, x = x, {mixed}",
                "print(np.abs(x - old).max())  # change",
            ), {}
        if code == "another-fixed-point":
            last = f"print(elsewhere({one(name)}, look.at, look.vector.real, {a}, {num_passes}))  # distance"
            return block(_NUMPY, _LOOK + "elsewhere, linearized", look, last), {}
        if code == "transient-growth":
            return block(
                _NUMPY,
                _LOOK + "linearized, passing_growth",
                "from jaxnum.numerics.fixed_point import linearize",
                f"{look[:5].strip()}, fn = {look[7:]}, {one(name)}",
                "along = lambda v: linearize(fn, look.at).along(look.at, v)",
                f"print(passing_growth(along, {a}, np.asarray(fn({at})) - {at}, look.run.passes))  # transient_growth",
            ), {}
        if code == "nonfinite-iterate":
            return block(_NUMPY, _LOOK + "linearized", look, "print(look.run.passes + 1)  # pass"), {}
        other = one(called(unsmoothed, "unsmoothed", update))
        last = f"print(look.growth, growth_at({other}, look.at{options}))  # growth_with_filter, growth_without_filter"
        return block(_NUMPY, _LOOK + "growth_at, linearized", look, last), {}

    return write


def of_boundary_conditions(vector_field: Callable, takes_args: bool) -> Callable[[Finding], tuple[str, dict]]:
    """Return what writes the lines for findings about a boundary-value problem."""
    name = called(vector_field, "vector_field")
    slope = f"{name}(x, y, args)" if takes_args else f"{name}(x, y)"
    start = [
        "import jax, numpy as np",
        "from jaxnum.diagnose.iterations.boundary_conditions import exponents_of",
        f"J = np.asarray(jax.vmap(jax.jacfwd(lambda y, x: {slope}))(np.asarray(y, float), np.asarray(x, float)))",
    ]

    def write(finding: Finding) -> tuple[str, dict[str, Any]]:
        if finding.code == "nonfinite-derivative":
            return block(start[0], start[2], "print(np.argwhere(~np.isfinite(J))[0, 0])  # index"), {}
        modes = "e = exponents_of(J, np.diff(np.asarray(x, float)))"
        if finding.code == "inconclusive":
            return block(*start, modes, "print(np.isfinite(e).all())  # finite"), {"finite": False}
        last = "print(max(e.max(), 0), max(-e.min(), 0))  # log_growth_outward, log_growth_inward"
        return block(*start, modes, last), {}

    return write


def of_smoothing(filter: Callable, loop: Any, n: int, feature_width: Any) -> Callable[[Finding], tuple[str, dict]]:
    """Return what writes the lines for findings about a filter."""
    beside = None if loop is None else loop.half or loop.update
    name, middle = called(filter, "filter", beside), n // 2
    whole = f"y = np.asarray({name}(np.ones({n}))) - np.asarray({name}(np.zeros({n})))"
    ramp = [
        f"ramp = (x - x[{middle}]) / (x[-1] - x[0])",
        f"off = (np.asarray({name}(ramp)) - np.asarray({name}(0 * ramp))) / y[{middle}] - ramp",
    ]
    center = f"off[{3 * n // 8} : {5 * n // 8}]"

    def write(finding: Finding) -> tuple[str, dict[str, Any]]:
        code, e = finding.code, finding.evidence
        if code == "fails" and "error" in e:
            return block(
                _NUMPY,
                "try:",
                f"    {name}(np.ones({n}))",
                "except Exception as error:",
                "    print(type(error).__name__)  # error",
            ), {}
        if code == "fails":
            dtype = str(np.asarray(filter(np.ones(n))).dtype)
            return block(_NUMPY, f"print(np.asarray({name}(np.ones({n}))).dtype)  # dtype"), {"dtype": dtype}
        lines = {
            "wrong-length": [f"print(np.shape({name}(np.ones({n}))))  # returned"],
            "nonfinite": [f"print(np.argmin(np.isfinite({name}(np.ones({n})))))  # index"],
            "changes-input": [f"y = np.ones({n})", f"{name}(y)", "print(np.abs(y - 1).max())  # change"],
            "zero-padding": [whole, f"print(y[0] / y[{middle}], y[-1] / y[{middle}])  # left, right"],
            "not-normalized": [whole, f"print(y[{middle}])  # gain"],
            "offset": [f"y = np.asarray({name}(np.zeros({n})))", "print(y[np.argmax(np.abs(y))])  # value"],
            "shift": [whole, *ramp, f"print(-np.median({center}) * (x[-1] - x[0]))  # lag"],
            "assumes-uniform": [whole, *ramp, f"print(np.abs({center}).max() * (x[-1] - x[0]))  # error"],
            "amplifies": [
                f"h = np.asarray({name}(np.eye({n})[{middle}])) - np.asarray({name}(np.zeros({n})))",
                f"H = np.abs(np.fft.rfft(h, {1 << int(np.ceil(np.log2(8 * n)))}))",
                "print(H.max() / H[0])  # gain",
            ],
            "too-wide": [
                f"peak = np.exp(-4 * np.log(2) * ((x - x[{middle}]) / {feature_width!r}) ** 2)",
                f"print((np.asarray({name}(peak)) - np.asarray({name}(0 * peak)))[{middle}])  # height",
            ],
        }
        lines["edge-gain"] = lines["zero-padding-in-loop"] = lines["zero-padding"]
        if code in lines:
            return block(_NUMPY, *lines[code]), {}
        return _of_loop(finding, loop, name, n)

    return write


def _of_loop(finding: Finding, loop: Any, name: str, n: int) -> tuple[str, dict[str, Any]]:
    """Lines about a filter inside an iteration."""
    update, e = called(loop.update, "update"), finding.evidence
    at = f"np.zeros({n})" if not np.any(loop.at) else "np.asarray(at, float)"
    if finding.code == "unbounded-map":
        return block(
            _NUMPY,
            _LOOK + "growth_at",
            f"r = [growth_at(*{called(loop.refine, 'refine')}(n), num_vectors=32) for n in ({n}, {2 * n})]",
            "print(np.log2(r[1] / r[0]))  # exponent",
        ), {}
    if finding.code == "price" and not e["growth"] < 1:
        sigma = f"s = {e['feature_width']!r} / np.sqrt(8 * np.log(2))"
        needed = f"np.hypot(s, {e['width_needed']!r})" if np.isfinite(e["width_needed"]) else "np.inf"
        return block(_NUMPY, sigma, f"print(s / {needed})  # height"), {}
    if finding.code == "price":
        peak = f"np.exp(-4 * np.log(2) * ((x - x[{n // 2}]) / {e['feature_width']!r}) ** 2)"
        last = f"print((np.asarray({name}(peak)) - np.asarray({name}(0 * peak)))[{n // 2}])  # height"
        return block(_NUMPY, f"peak = {peak}", last), {}
    if finding.code in ("hides-instability", "filter-in-the-answer"):
        half = "half"
        run = (
            f"run = lambda f: iterate(lambda y: np.asarray(f(np.asarray({update}(y)))), {at}, {loop.relaxation:g}, 400)"
        )
        last = [f"print(run({half}).ending)  # ending_at_half_width"]
        if finding.code == "filter-in-the-answer":
            last = [f"whole, narrow = run({name}).last, run({half}).last"]
            last += ["print(np.abs(whole - narrow).max() / np.abs(narrow).max())  # relative_change"]
        return block(_NUMPY, "from jaxnum.numerics.fixed_point import iterate", run, *last), {}
    return block(
        _NUMPY,
        _LOOK + "growth_at",
        f"loop = lambda y: np.asarray({name}(np.asarray({update}(y))))",
        f"print(growth_at(loop, {at}, relaxation={loop.relaxation:g}, num_vectors=32))  # growth",
    ), {}
