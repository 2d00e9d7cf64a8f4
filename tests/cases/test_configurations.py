"""Every field of every story's configuration is checked by name."""

import numpy as np
import pytest

from jaxnum.cases import (
    adam_rosenbrock,
    backprop_shapes,
    free_packet,
    momentum_network,
    noisy_iteration,
    polynomial_descent,
)

NONSENSE = {
    adam_rosenbrock: dict(num_steps=1, adam_rate=0.0, momentum_rate=np.nan, momentum=1.0, x0=np.inf, map_size=4),
    backprop_shapes: dict(spread=0.0, momentum=1.0, num_keys=1, seed=-1),
    free_packet: dict(half_length=5.0, num_points=[10, 5000], t1=0.0, num_steps=1, collision_momentum=-1.0),
    momentum_network: dict(step=0.0, slow_step=np.nan, momentum=1.0, num_steps=10, num_starts=1),
    noisy_iteration: dict(num_points=10, num_passes=0, relaxation=[0.0, 2.0], width=-1.0, window=10**7),
    polynomial_descent: dict(learning_rate=0.0, num_steps=1, num_samples=2, degree=9, seed=-1),
}
PLACES = [
    pytest.param(case, name, value, id=f"{case.__name__.split('.')[-1]}-{name}-{value}")
    for case, fields in NONSENSE.items()
    for name, values in fields.items()
    for value in (values if isinstance(values, list) else [values])
]


@pytest.mark.parametrize(("case", "name", "value"), PLACES)
def test_nonsense_is_refused(case, name, value):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        case.Config(**{name: value})
