"""Landscapes: functions whose minima are known, to try minimizers on.

Two families. Sums of squares f = Σ rᵢ², with the starting points of Moré, Garbow & Hillstrom, whose difficulty is
curvature: bent valleys, scales from 1e-5 to 1e6, a singular Hessian, saddles. And classics, of which most are from
global optimization, whose difficulty is the number of their minima: every minimum that is known is listed, and ending
in `local_minima[1]` is a correct answer of a local method.

References:
    Moré, Garbow & Hillstrom (1981), https://doi.org/10.1145/355934.355936
"""

from jaxnum.optimize.classics import (
    ackley,
    booth,
    branin,
    easom,
    eggholder,
    goldstein_price,
    himmelblau,
    matyas,
    noisy_quadratic,
    quadratic,
    rastrigin,
    ravine,
    reddi,
    rosenbrock,
    saddle,
    six_hump_camel,
    styblinski_tang,
    three_hump_camel,
)
from jaxnum.optimize.landscape import Landscape
from jaxnum.optimize.more_garbow_hillstrom import (
    bard,
    beale,
    biggs_exp6,
    box_three_dimensional,
    brown_almost_linear,
    brown_badly_scaled,
    brown_dennis,
    broyden_banded,
    broyden_tridiagonal,
    chebyquad,
    discrete_boundary_value,
    discrete_integral,
    extended_powell_singular,
    extended_rosenbrock,
    freudenstein_roth,
    gaussian,
    gulf,
    helical_valley,
    jennrich_sampson,
    kowalik_osborne,
    linear_full_rank,
    linear_rank_one,
    linear_rank_one_with_zeros,
    meyer,
    osborne_1,
    osborne_2,
    penalty_1,
    penalty_2,
    powell_badly_scaled,
    powell_singular,
    trigonometric,
    variably_dimensioned,
    watson,
    wood,
)

# In the order of the paper, problems 1 to 35.
_MORE_GARBOW_HILLSTROM = (
    rosenbrock,
    freudenstein_roth,
    powell_badly_scaled,
    brown_badly_scaled,
    beale,
    jennrich_sampson,
    helical_valley,
    bard,
    gaussian,
    meyer,
    gulf,
    box_three_dimensional,
    powell_singular,
    wood,
    kowalik_osborne,
    brown_dennis,
    osborne_1,
    biggs_exp6,
    osborne_2,
    watson,
    extended_rosenbrock,
    extended_powell_singular,
    penalty_1,
    penalty_2,
    variably_dimensioned,
    trigonometric,
    brown_almost_linear,
    discrete_boundary_value,
    discrete_integral,
    broyden_tridiagonal,
    broyden_banded,
    linear_full_rank,
    linear_rank_one,
    linear_rank_one_with_zeros,
    chebyquad,
)
_CLASSICS = (
    quadratic,
    ravine,
    saddle,
    noisy_quadratic,
    reddi,
    booth,
    matyas,
    himmelblau,
    branin,
    goldstein_price,
    three_hump_camel,
    six_hump_camel,
    rastrigin,
    ackley,
    styblinski_tang,
    eggholder,
    easom,
)


def catalogue() -> dict[str, Landscape]:
    """Return every landscape at its default parameters, by name: the 35 of the paper in its order, then the classics.

    Example:
        >>> from jaxnum.optimize import landscapes
        >>> len(landscapes.catalogue()), landscapes.catalogue()["wood"].y0.shape
        (52, (4,))
    """
    return {maker.__name__: maker() for maker in (*_MORE_GARBOW_HILLSTROM, *_CLASSICS)}


def more_garbow_hillstrom() -> dict[str, Landscape]:
    """Return the 35 problems of Moré, Garbow & Hillstrom by name, in their order, each with its `residuals`."""
    return {maker.__name__: maker() for maker in _MORE_GARBOW_HILLSTROM}


__all__ = [
    "Landscape",
    "catalogue",
    "more_garbow_hillstrom",
    *(maker.__name__ for maker in (*_MORE_GARBOW_HILLSTROM, *_CLASSICS)),
]
