"""Run the lines of a finding and hold what they print against its evidence."""

import contextlib
import io
import re

import jax
import numpy as np

# What is random cannot be printed twice.
RANDOM = ("not-repeatable",)


def printed(finding, names):
    """Return what the lines of a finding print in a namespace with what the user gave."""
    assert finding.reproduce, f"[{finding.code}] has no lines"
    assert "\n" in finding.reproduce, finding.reproduce
    assert finding.reproduce.count("\n") < 7, finding.reproduce
    out = io.StringIO()
    # Everything else is as in a session of the user's: no strict promotion.
    with (
        contextlib.redirect_stdout(out),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        np.errstate(all="ignore"),
    ):
        exec(compile(finding.reproduce, "<lines>", "exec"), dict(names))
    return out.getvalue().strip()


def check(found, *, only=None, rtol=1e-6, atol=1e-9, **names):
    """Assert that every finding of a diagnosis is reproduced by its own lines.

    A truth by autodiff is the same to rounding; one by differences is known to 1e-8 of the gradient, and what lines
    compute at a point printed in full starts from the same numbers: a millionth leaves room for conditions of 100.
    """
    assert found.findings
    # A function is known by its own name, where it has one.
    names = {getattr(v, "__name__", k): v for k, v in names.items() if callable(v)} | names
    for finding in found.findings:
        if only is not None and finding.code not in only:
            continue
        if finding.code == "memory-leaks":
            continue  # what leaked stays where it is, and a second look starts from there
        keys = finding.reproduce.rsplit("#", 1)[-1].strip().split(", ")
        text = printed(finding, names)
        if finding.code in RANDOM:
            assert text
            continue
        values = [finding.evidence[key] for key in keys]
        if isinstance(values[0], str | bool):
            assert text == " ".join(map(str, values)), (finding.reproduce, text, values)
            continue
        told = [complex(v) for v in re.sub(r"[\[\](),]|np\.\w+", " ", text).split()]
        wanted = np.concatenate([np.ravel(np.asarray(v, complex)) for v in values])
        assert len(told) == len(wanted), (finding.reproduce, text, values)
        np.testing.assert_allclose(told, wanted, rtol=rtol, atol=atol, err_msg=f"[{finding.code}]\n{finding.reproduce}")
