"""From the numbers of a wrong gradient to a cause: rules that need no network.

Each rule looks at u (claimed) and g (true) at several points at once, leaf by leaf, and speaks only when its formula
holds at all of them, those included to which no constant was fitted:

    u = c g,   u_l = c_l g_l,   u_l = g_lᵀ,   u = c g + λ w,   u_i = k x_j g_i,   u_i = g_i + k x_j, ...
"""

import math

import numpy as np

from jaxnum.diagnose.gradients.comparison import Comparison, plural
from jaxnum.diagnose.gradients.components import components, permuted
from jaxnum.diagnose.gradients.factors import additions, constant_factor, leaf_factors, transposed, zero
from jaxnum.diagnose.report import Finding


def unknown(c: Comparison) -> list[Finding]:
    """What is left when no rule fits: where it is wrong, and by how much."""
    evidence = c.evidence() | {"cause": "unknown"}
    angle = math.degrees(math.acos(min(1.0, max(-1.0, evidence["cosine"]))))
    how = f"its angle to the true one is {angle:.3g}° and its length {evidence['norm_ratio']:.3g} times the true one"
    downhill = (
        "Steps against it still lead downhill, so training may seem to work."
        if np.all(c.cosine[np.linalg.norm(c.true, axis=1) > 0] > 0)
        else "Steps against it lead uphill in places."
    )
    if c.count > 1 and any(c.right):
        names = plural(c.name(i) for i in c.wrong)
        right = plural(c.name(i) for i, good in enumerate(c.right) if good)
        message = (
            f"The gradient of {names} is wrong and that of {right} is right; the cause is none of the known ones. As a "
            f"whole {how}. {downhill}"
        )
        return [Finding("unknown-cause", message, evidence, f"Look at the lines that form the gradient of {names}.")]
    message = f"Your gradient is wrong, and the cause is none of the known ones: {how}. {downhill}"
    return [Finding("wrong-direction", message, evidence, "Compare the table, leaf by leaf, with the formula meant.")]


ALONE = (zero, constant_factor)
"""Rules that explain everything at once, tried first."""


LEAF_BY_LEAF = (leaf_factors, transposed, additions)
"""Rules that a known mistake of a network explains better, tried after those."""


REST = (permuted, components)
"""Rules tried after pairs of known mistakes."""
