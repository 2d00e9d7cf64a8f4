"""Six worked stories: the symptom, its diagnosis, the cure."""

from jaxnum.cases import (
    adam_rosenbrock,
    backprop_shapes,
    free_packet,
    momentum_network,
    noisy_iteration,
    polynomial_descent,
)

# In the order in which they are told.
CASES = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        backprop_shapes,
        free_packet,
        adam_rosenbrock,
        polynomial_descent,
        momentum_network,
        noisy_iteration,
    )
}
"""The stories by name; each module has a frozen `Config` and `run(config, tell) -> Story`."""
