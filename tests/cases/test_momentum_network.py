import jax
import jax.numpy as jnp
import numpy as np

from jaxnum.cases import momentum_network
from jaxnum.cases.momentum_network import (
    Config,
    X,
    Y,
    claimed_gradients,
    loss,
    right_gradients,
    script,
    weights,
)

# Ten starts and a tenth of the steps: enough for every statement about the mistake, none for the shares of 200 starts.
CASE, CONFIG = momentum_network, Config(num_starts=10, num_steps=1000)


def test_ratios_of_the_claim_are_the_published_ones(story, facts):
    found = [facts(story.diagnosis, f"output weight {i}") for i in (1, 2, 3, 4)]
    np.testing.assert_allclose(found, [1.2579, 1.2708, 1.2606, 1.2689], atol=5e-5)
    np.testing.assert_allclose(facts(story.diagnosis, "smallest", "claimed / true"), 1.5, atol=0.05)
    np.testing.assert_allclose(facts(story.diagnosis, "largest", "claimed / true"), 3.9, atol=0.05)


def test_the_diagnosis_names_the_mistake_in_both_layers(story):
    first = story.diagnoses[0]
    [finding] = first.findings
    assert finding.code == "derivative-of-activation"
    assert "both layers" in finding.message
    assert finding.evidence["asymmetry"] > 0.1
    assert any("not the gradient of anything" in note for note in first.notes), first


def test_asymmetry_tells_the_claim_from_the_gradient(story, facts):
    assert facts(story.diagnosis, "asymmetry", "seed 0") > 0.1
    assert facts(story.diagnosis, "asymmetry", "right derivative") < 1e-14


def test_right_gradients_by_hand_are_the_gradient():
    def retold(w1, w2):
        return jnp.sum((jax.nn.sigmoid(jax.nn.sigmoid(X @ w1) @ w2) - Y) ** 2)

    for seed in range(3):
        w = weights(seed)
        np.testing.assert_allclose(retold(*w), loss(*w), rtol=1e-14)
        for found, true in zip(right_gradients(*w), jax.grad(retold, (0, 1))(*w), strict=True):
            np.testing.assert_allclose(found, true, rtol=1e-12)


def test_the_retelling_follows_the_script(story, facts):
    # Rounding of 1000 steps of a map that is nowhere chaotic: some 1000 units in the last place.
    assert facts(story.symptom, "script and its retelling") < 1e-12
    assert facts(story.cure, "networks.train and the mended script") < 1e-12


def test_the_script_takes_averaged_momentum():
    w = script(*weights(0), num_steps=1)
    g = claimed_gradients(*weights(0))
    for new, old, arrow in zip(w, weights(0), g, strict=True):
        np.testing.assert_allclose(new, old - 0.5 * 0.5 * arrow, rtol=1e-15)


def test_pictures(pictures):
    assert list(pictures) == ["script-losses", "slopes", "trained-on", "outcomes", "decision"]
    for name, axes in pictures.items():
        assert axes.get_title() or axes.get_title(loc="left"), name
