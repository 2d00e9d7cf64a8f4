import os
import subprocess
import sys

SCRIPT = """
import warnings
warnings.simplefilter("error")
import jax.numpy as jnp, numpy as np, optax
from jaxnum import diagnose, optimize
valley = optimize.landscapes.rosenbrock()
assert valley.y0.dtype == jnp.float32
solution = optimize.minimize(valley.fn, optax.lbfgs(), [-1.2, 1.0], num_steps=60)
assert solution.ok and solution.value.dtype == jnp.float32
np.testing.assert_allclose(solution.value, 1.0, atol=1e-3)
ours, theirs = (optimize.minimize(valley.fn, o(0.02), valley.y0, num_steps=200) for o in (optimize.adam, optax.adam))
np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-3)
assert optimize.stability_limit(optimize.Momentum(0.9), 10.0).dtype == jnp.float32
values = optimize.learning_rate_map(valley.fn, optax.sgd, valley.y0, [1e-3, 1.0], num_steps=100)
assert values[0] < 10 and np.isinf(values[1])
problem = optimize.landscapes.bard()
fit = optimize.least_squares(problem.residuals, problem.y0, num_steps=30)
assert fit.ok and fit.value.dtype == jnp.float32
np.testing.assert_allclose(fit.history.value[-1], problem.minimum, rtol=1e-3)
bfgs = optimize.minimize(valley.fn, optimize.BFGS(), valley.y0, num_steps=80, tolerance=1e-2)
assert bfgs.ok and bfgs.value.dtype == jnp.float32
ends = optimize.curvature(valley.fn, valley.minima[0])
np.testing.assert_allclose(ends.largest, 1001.6, rtol=1e-4)
card = diagnose.convention_card(optax.adamw(0.01, weight_decay=0.1))
assert card.code == "adam" and card.decay.startswith("decoupled"), card
assert diagnose.update_rule(optax.adam(0.01)).ok
assert diagnose.update_rule(optimize.adam(0.01, eps_hat=True)).ok
[finding] = diagnose.update_rule(optimize.adam(0.01, bias_correction=False)).findings
assert finding.code == "no-bias-correction", finding
"""


def test_everything_works_while_x64_is_off():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | {"JAX_PLATFORMS": "cpu"}
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
