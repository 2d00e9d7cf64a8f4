"""Somebody's gradient against the true one: right, and if not, why.

    u(p): the claim,   g(p) = ∇L(p): the truth, by autodiff of the loss or by differences, doubted before it is used

The steps are those of `examination`, in its order; a training step is examined by the gradient it implies.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from jaxnum._checks import check_positive, refuse
from jaxnum.diagnose.backprop.network import Network
from jaxnum.diagnose.gradients.claim import Step
from jaxnum.diagnose.gradients.complex_parameters import is_complex, real_view
from jaxnum.diagnose.gradients.examination import Examination
from jaxnum.diagnose.report import Diagnosis
from jaxnum.diagnose.truth import check_points, double_precision, parameters, truth


def gradient(
    loss: Callable,
    claimed_gradient: Callable,
    at: Any,
    *,
    points: Sequence[Any] | None = None,
    network: Network | None = None,
    deltas: Callable | None = None,
    conjugate: bool | None = None,
) -> Diagnosis:
    """Say whether a hand-written gradient is right, and if not, what is wrong with it.

    Args:
        loss: Function of the parameters that returns one number (or an array of one). NumPy, JAX or plain Python;
            its true gradient comes from autodiff where the function can be retold in JAX, else from differences.
        claimed_gradient: Function of the same parameters that returns their gradient by hand: in the structure of
            `at`, as a list or tuple of its leaves, as a dict in the same order, or as one flat vector. A pair
            `(loss, gradient)` is taken apart. It is only called, never read.
        at: Parameters: an array, or a pytree such as a tuple of arrays, a dict or a list of layers. A tuple is handed
            over as separate arguments where the functions take that many.
        points: Further parameters to compare at, a list of such pytrees. Several points around `at` are always taken,
            because at a minimum, at equal weights or at zero many mistakes do not show.
        network: The network that a backward pass belongs to, with which known mistakes of backpropagation are
            named. Without it one is looked for among the arrays that `loss` can see, and used only if its loss
            agrees with yours at random weights.
        deltas: Function of the parameters that returns what your backward pass has for ∂L/∂z of each layer, from
            input to output, (samples, units) each; the first wrong one, counted from the output, is then named.
        conjugate: For complex parameters z = a + ib: False if the claim is to be ∂L/∂a + i ∂L/∂b, which is subtracted
            to descend, as in PyTorch; True if its conjugate, as `jax.grad` returns it. None takes either for right
            and says which it is.

    Returns:
        Diagnosis; `ok` when the gradient is right. The notes say which truth was used and how sharp it is, the tables
        compare leaf by leaf, and `finding.evidence` holds the numbers. Codes of the first finding:
        `wrong-sign`, `constant-factor`, `leaf-factor`, `missing-leaf`, `zero-gradient` (right up to factors);
        `transposed-leaf`, `permuted-leaves`, `wrong-shape`, `not-summed`, `gradient-fails`, `nonfinite-gradient`;
        `accumulates`, `remembers`, `not-repeatable`, `changes-parameters` (what a second call shows);
        `weight-decay`, `missing-penalty`, `constant-offset` (terms too many or too few); those of the known mistakes
        of backpropagation, such as `derivative-of-activation`, `missing-slope`, `missing-slope-in-back-sum`,
        `weights-updated-early`, `bias-averaged`, `broadcast-targets`; `wrong-components` (with the function of the
        parameters that stands between yours and the truth, where there is a simple one); `unknown-cause` (located
        in some of the leaves), `wrong-direction` (everywhere); `conjugated-gradient` (of complex parameters, in the
        other convention, or in both at once); and `inconclusive` when two truths disagree.
        `finding.reproduce` calls the two functions by their own names, else `loss` and `claimed_gradient`, and the
        parameters `at`.
        Where several mistakes explain the numbers equally, `evidence["alternatives"]` lists their codes.

    Raises:
        ValueError: If `loss` does not return one real number, or an argument is not what is said above.

    Reference:
        Rumelhart, Hinton & Williams (1986), https://doi.org/10.1038/323533a0

    Example:
        >>> import numpy as np
        >>> from jaxnum import diagnose
        >>> x, y = np.array([1.0, 2.0, 4.0]), np.array([2.0, 3.0, 3.0])
        >>> def loss(w, b):
        ...     return np.mean((w * x + b - y) ** 2)
        >>> def by_hand(w, b):
        ...     error = w * x + b - y
        ...     return np.mean(error * x), np.mean(error)
        >>> [finding] = diagnose.gradient(loss, by_hand, (0.3, 0.1)).findings
        >>> finding.code, round(finding.evidence["scale"], 6)
        ('constant-factor', 0.5)
    """
    if network is not None and not isinstance(network, Network):
        refuse("network", "be a `diagnose.Network`", f"is {type(network).__name__}")
    if is_complex(at):
        return _of_complex(loss, claimed_gradient, at, points, conjugate)
    with double_precision():
        where = parameters(at, loss, claimed_gradient)
        own = [] if points is None else check_points(points, where)
        found = truth(loss, where)
        return Examination(loss, claimed_gradient, where, own, found, network, deltas=deltas).diagnose()


def _of_complex(loss: Callable, claimed: Callable, at: Any, points: Any, conjugate: bool | None) -> Diagnosis:
    """Look at complex parameters as pairs of real ones, in the convention asked for and in the other one."""
    found = {}
    for other in (bool(conjugate), not conjugate):
        view = real_view(loss, claimed, at, conjugate=other)
        with double_precision():
            where = parameters(view[2], view[0], view[1])
            own = [] if points is None else check_points([real_view(loss, claimed, p)[2] for p in points], where)
            examined = Examination(*view[:2], where, own, truth(view[0], where))
            examined.writer.complex_as(loss, claimed, other)
            found[other] = examined.diagnose()
        if found[other].ok:
            break
    name = {False: "∂L/∂a + i ∂L/∂b, which is subtracted to descend", True: "∂L/∂a − i ∂L/∂b, as `jax.grad` returns it"}
    said = "Complex parameters z = a + ib are looked at as pairs (a, b)."
    first, second = found[bool(conjugate)], found.get(not conjugate)
    if second is None or not second.ok:
        # With neither convention right, the one that comes closer in direction is meant.
        best, used = first, bool(conjugate)
        if second is not None and conjugate is None and _along(second) > _along(first) + 1e-9:
            best, used = second, True
        return replace(best, notes=(f"{said} The convention is {name[used]}.", *best.notes))
    if conjugate is None:
        note = f"{said} It is {name[True]}: step along its conjugate, z ← z − η ū, or it leads nowhere."
        return replace(second, notes=(note, *second.notes))
    message = f"Your gradient is the conjugate of the right one: it is {name[not conjugate]}, asked for is "
    message += f"{name[bool(conjugate)]}. Every imaginary part moves the wrong way."
    wrong = first.findings[0]
    finding = replace(wrong, code="conjugated-gradient", message=message, cure="Take its complex conjugate.")
    return replace(first, findings=(finding,), notes=(said, *first.notes))


def _along(found: Diagnosis) -> float:
    """Return how nearly the claim points along the true gradient, or against it."""
    return max((abs(f.evidence.get("cosine", 0.0)) for f in found.findings), default=1.0)


def training_step(
    step: Callable,
    loss: Callable,
    at: Any,
    *,
    learning_rate: float | None = None,
    points: Sequence[Any] | None = None,
    network: Network | None = None,
) -> Diagnosis:
    """Say whether a hand-written training step follows the gradient of a loss, and if not, what is wrong with it.

    The gradient that it follows is recovered from old and new parameters, (old − new)/rate. Memory of the step, such
    as a velocity, is set back before every call, so that each is the first one; `update_rule` is about the others.

    Args:
        step: Function of the parameters that returns the new ones, in the same structure or beside a loss; or that
            writes them in place and returns None.
        loss: Function of the parameters that returns one number.
        at: Parameters: an array, or a pytree such as a tuple of arrays.
        learning_rate: Rate of the step. Without it the factor between step and gradient is taken for the rate, so
            that a wrong factor common to all parameters cannot be seen.
        points: Further parameters to compare at.
        network: The network it trains, as for `gradient`.

    Returns:
        Diagnosis with the codes of `gradient`; mistakes of order, such as `weights-updated-early`, come with the rate
        that was recovered. The notes give the learning rate.

    Raises:
        ValueError: As `gradient` does.

    Example:
        >>> import numpy as np
        >>> from jaxnum import diagnose
        >>> data = np.array([1.0, 2.0, 4.0])
        >>> def loss(a, b):
        ...     return np.mean((a * b * data - 1.0) ** 2)
        >>> def step(a, b):
        ...     a = a - 0.01 * np.mean(2 * (a * b * data - 1.0) * b * data)
        ...     b = b - 0.01 * np.mean(2 * (a * b * data - 1.0) * a * data)  # a is the new one already
        ...     return a, b
        >>> diagnose.training_step(step, loss, (0.5, 0.8), learning_rate=0.01).findings[0].code
        'weights-updated-early'
    """
    if learning_rate is not None:
        check_positive("learning_rate", learning_rate)
    if network is not None and not isinstance(network, Network):
        refuse("network", "be a `diagnose.Network`", f"is {type(network).__name__}")
    with double_precision():
        where = parameters(at, loss, step)
        own = [] if points is None else check_points(points, where)
        found = truth(loss, where)
        return Examination(loss, step, where, own, found, network, Step(learning_rate)).diagnose()
