import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnum import diagnose
from jaxnum.diagnose.updates.catalogue import RIGHT, WRONG
from jaxnum.optimize import Adam, AveragedMomentum, Momentum, Nesterov, Sgd, adam

BY_CODE = {rule.code: rule for rule in (*RIGHT, *WRONG)}

# First steps in units of the learning rate, β = 0.9, 0.999, ε = 1e-8:
# u1 at g = 1, 1e-2, 1e-6; u2 on (1, −1) and (1, 1).
SIGNATURES = {
    "adam": (1, 1, 0.990, -0.0526, 1),
    "adam-eps-hat": (1, 0.99997, 0.760, -0.0526, 1),
    "eps-inside-root": (1, 0.99995, 0.0100, -0.0526, 1),
    "no-bias-correction": (3.1623, 3.1622, 2.402, -0.224, 4.250),
    "first-moment-not-corrected": (0.1, 0.1, 0.0990, -0.0100, 0.190),
    "second-moment-not-corrected": (31.623, 31.622, 24.02, -1.177, 22.37),
    "power-of-time-forgotten": (1, 1, 0.990, -0.0707, 1.344),
    "correction-multiplied": (10.0, 9.990, 0.909, -0.950, 18.06),
    "correction-written-back": (1, 1, 0.990, 0.188, 0.235),
    "time-off-by-one": (0.744, 0.744, 0.734, -0.0452, 0.858),
    "wrong-complement": (31.607, 31.606, 24.01, -1.176, 22.34),
    "root-forgotten": (1, 99.99, 99.99, -0.0526, 1),
    "square-instead-of-root": (1, 5.0e5, 100, -0.0526, 1),
    "root-taken-twice": (1, 0.100, 0.00100, -0.0526, 1),
    "second-moment-of-mean": (10, 10.0, 9.09, -0.741, 6.586),
    "betas-swapped": (1, 1, 0.990, -5.0e-4, 1),
    "memory-reset": (1, 1, 0.990, -0.744, 0.744),
    "memory-and-time-reset": (1, 1, 0.990, -1, 1),
    "decay-to-the-t": (1, 1, 0.990, -0.574, 1.426),
    "first-moment-not-averaged": (10, 10, 9.90, -0.526, 10),
}


def by_hand(correct, divide, blend=None, rate=0.01, b1=0.9, b2=0.999, start=0):
    """An Adam as people write it, from its three formulas; memory in a dict."""

    def update(grad, state):
        if state is None:
            state = {"m": 0.0, "v": 0.0, "t": start}
        t = state["t"] + 1
        m, v = (blend or moments)(state["m"], state["v"], grad, t, b1, b2)
        keep = {"m": m, "v": v, "t": t}
        m, v = correct(m, v, t, b1, b2)
        return -rate * divide(m, v), keep

    return update


def moments(m, v, g, _t, b1, b2):
    return b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2


def right(m, v, t, b1, b2):
    return m / (1 - b1**t), v / (1 - b2**t)


def root(m, v):
    return m / (np.sqrt(v) + 1e-8)


def overwriting(grad, state):
    m, v, t = state or (0.0, 0.0, 0)
    m, v = moments(m, v, grad, t, 0.9, 0.999)
    m, v = right(m, v, t + 1, 0.9, 0.999)
    return -0.01 * m / (np.sqrt(v) + 1e-8), (m, v, t + 1)


def forgetful(grad, state):
    t = (state or 0) + 1
    m, v = right(*moments(0.0, 0.0, grad, t, 0.9, 0.999), t, 0.9, 0.999)
    return -0.01 * root(m, v), t


def rate_overwritten(grad, state):
    m, v, t, rate = state or (0.0, 0.0, 0, 0.01)
    t += 1
    m, v = moments(m, v, grad, t, 0.9, 0.999)
    rate = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return -rate * m / (np.sqrt(v) + 1e-8), (m, v, t, rate)


# Every row of the catalogue, written by hand, independently of the library that recognizes it.
PLANTED = {
    "no-bias-correction": by_hand(lambda m, v, *_: (m, v), root),
    "first-moment-not-corrected": by_hand(lambda m, v, t, _b1, b2: (m, v / (1 - b2**t)), root),
    "second-moment-not-corrected": by_hand(lambda m, v, t, b1, _b2: (m / (1 - b1**t), v), root),
    "power-of-time-forgotten": by_hand(lambda m, v, _t, b1, b2: (m / (1 - b1), v / (1 - b2)), root),
    "time-starts-at-zero": by_hand(lambda m, v, t, b1, b2: right(m, v, t - 1, b1, b2), root),
    "correction-multiplied": by_hand(lambda m, v, t, b1, b2: (m * (1 - b1**t), v * (1 - b2**t)), root),
    "correction-written-back": overwriting,
    "time-off-by-one": by_hand(right, root, start=1),
    "wrong-complement": by_hand(lambda m, v, t, b1, b2: (m * np.sqrt(1 - (1 - b2**t)) / (1 - b1**t), v), root),
    "root-forgotten": by_hand(right, lambda m, v: m / (v + 1e-8)),
    "square-instead-of-root": by_hand(right, lambda m, v: m / (v**2 + 1e-8)),
    "root-taken-twice": by_hand(right, lambda m, v: m / (np.sqrt(np.sqrt(v)) + 1e-8)),
    "eps-inside-root": by_hand(right, lambda m, v: m / np.sqrt(v + 1e-8)),
    "second-moment-of-mean": by_hand(
        right, root, lambda m, v, g, _t, b1, b2: (w := b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * w**2)
    ),
    "betas-swapped": by_hand(right, root, b1=0.999, b2=0.9),
    "memory-reset": forgetful,
    "memory-and-time-reset": lambda grad, _state: (by_hand(right, root)(grad, None)[0], None),
    "decay-to-the-t": by_hand(
        right, root, lambda m, v, g, t, b1, b2: (b1**t * m + (1 - b1**t) * g, b2 * v + (1 - b2) * g**2)
    ),
    "learning-rate-overwritten": rate_overwritten,
    "wrong-sign": by_hand(right, lambda m, v: -root(m, v)),
}


@pytest.mark.parametrize("code", PLANTED)
def test_planted_fault_is_named(code):
    diagnosis = diagnose.update_rule(PLANTED[code])
    [finding] = diagnosis.findings
    assert finding.code == code, diagnosis
    assert finding.cure
    if "learning_rate" in finding.evidence:
        np.testing.assert_allclose(abs(finding.evidence["learning_rate"]), 0.01, rtol=1e-9, err_msg=str(diagnosis))
    json.loads(diagnosis.to_json())


def test_the_library_is_planted_completely():
    # A forgotten 1 − β₁ is another learning rate, which has a test of its own; the sign is no rule by itself.
    assert set(PLANTED) - {"wrong-sign"} == {rule.code for rule in WRONG} - {"first-moment-not-averaged"}


@pytest.mark.parametrize("code", SIGNATURES)
def test_signatures_are_those_published(code):
    def steps(*gradients):
        return -BY_CODE[code].steps(np.array(gradients)[:, None], 1.0, 0.9, 0.999, 1e-8)[:, 0]

    found = (steps(1)[0], steps(1e-2)[0], steps(1e-6)[0], steps(1, -1)[1], steps(1, 1)[1])
    # Three digits are printed, four where the first is a 1 or the value large.
    np.testing.assert_allclose(found, SIGNATURES[code], rtol=6e-3, err_msg=code)


@pytest.mark.parametrize(("t", "expected"), [(10, 6.53), (12, 6.57)])
def test_peak_of_uncorrected_steps(t, expected):
    steps = -BY_CODE["no-bias-correction"].steps(np.ones((t, 1)), 1.0, 0.9, 0.999, 1e-8)
    np.testing.assert_allclose(steps[-1, 0], expected, atol=0.005)


def test_five_probes_separate_all_rules():
    from jaxnum.diagnose.updates import probes

    rules = [r for r in (*RIGHT, *WRONG) if len(r.parameters) == 4 and r.code != "time-starts-at-zero"]
    steps = {r.code: r.steps(probes.sequences(), 1.0, 0.9, 0.999, 1e-8) for r in rules}
    names = list(steps)
    gaps = {
        (a, b): np.max(np.abs(steps[a] - steps[b]) / np.max(np.abs(steps[a]), axis=0))
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }
    closest = min(gaps, key=gaps.get)
    assert gaps[closest] > 1.5e-3, (closest, gaps[closest])


# Right code must be met with silence, whatever form it takes.


class InAnObject:
    def __init__(self, rate=0.01):
        self.m = self.v = 0.0
        self.t, self.rate = 0, rate

    def update(self, grad, state):
        self.t += 1
        self.m += 0.1 * (grad - self.m)
        self.v += 0.001 * (grad**2 - self.v)
        m, v = right(self.m, self.v, self.t, 0.9, 0.999)
        return -self.rate * root(m, v), state

    __call__ = update


def in_a_closure():
    m, v, t = np.zeros(1), np.zeros(1), 0

    def update(grad, state):
        nonlocal t
        t += 1
        m[:] = 0.9 * m + 0.1 * grad
        v[:] = 0.999 * v + 0.001 * grad * grad
        return -0.01 * root(*right(m, v, t, 0.9, 0.999)), state

    return update


GLOBAL = {"m": 0.0, "v": 0.0}
STEP = 0


def in_globals(grad, state):
    global STEP
    STEP += 1
    GLOBAL["m"], GLOBAL["v"] = moments(GLOBAL["m"], GLOBAL["v"], grad, STEP, 0.9, 0.999)
    return -0.01 * root(*right(GLOBAL["m"], GLOBAL["v"], STEP, 0.9, 0.999)), state


def in_place(grad, state):
    if not state:
        state.update(m=np.zeros_like(grad), v=np.zeros_like(grad), t=0)
    state["t"] += 1
    state["m"] *= 0.9
    state["m"] += 0.1 * grad
    state["v"] *= 0.999
    state["v"] += 0.001 * grad**2
    grad[:] = -0.01 * root(*right(state["m"], state["v"], state["t"], 0.9, 0.999))
    return grad, state


def in_a_default(grad, state, memory=[0.0, 0.0, 0]):  # noqa: B006
    memory[2] += 1
    memory[:2] = moments(*memory[:2], grad, memory[2], 0.9, 0.999)
    return -0.01 * root(*right(*memory, 0.9, 0.999)), state


def unpacking(grad, state):
    m, v, t = state
    t = t + 1
    m, v = moments(m, v, grad, t, 0.9, 0.999)
    return -0.01 * root(*right(m, v, t, 0.9, 0.999)), (m, v, t)


def in_jax(grad, state):
    m, v, t = state or (0.0, 0.0, 0)
    m, v = moments(m, v, jnp.asarray(grad), t, 0.9, 0.999)
    return -0.01 * m / (1 - 0.9 ** (t + 1)) / (jnp.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8), (m, v, t + 1)


def plain_numbers(grad, state):
    import math

    m, v, t = state or (0.0, 0.0, 0)
    m, v = moments(m, v, float(grad), t, 0.9, 0.999)
    a, b = right(m, v, t + 1, 0.9, 0.999)
    return -0.01 * a / (math.sqrt(b) + 1e-8), (m, v, t + 1)


FORMS = {
    "dict": by_hand(right, root),
    "object": InAnObject(),
    "method": InAnObject().update,
    "closure": in_a_closure(),
    "globals": in_globals,
    "in place": in_place,
    "default": in_a_default,
    "unpacking": unpacking,
    "jax": in_jax,
    "plain numbers": plain_numbers,
    "transformation by hand": adam(0.01),
    "optax": optax.adam(0.01),
}


@pytest.mark.parametrize("form", FORMS)
def test_silent_on_adam_in_every_form(form):
    diagnosis = diagnose.update_rule(FORMS[form], claims=optax.adam(0.01))
    assert diagnosis.ok, diagnosis
    assert "Adam, Algorithm 1, with learning rate 0.01, β₁ 0.9, β₂ 0.999, ε 1e-08" in str(diagnosis).replace(
        "\n    ", ""
    ), diagnosis


def test_what_was_watched_is_left_as_it_was():
    thing = InAnObject()
    diagnose.update_rule(thing)
    diagnose.update_rule(in_globals)
    assert thing.t == STEP == GLOBAL["v"] == 0


class Rule:
    """Adam with its memory in the object; the subclasses are the ways in which people call it."""

    def __init__(self, rate=0.01, shape=()):
        self.m, self.v, self.t, self.rate = np.zeros(shape), np.zeros(shape), 0, rate

    def move(self, grad):
        self.t += 1
        self.m, self.v = moments(self.m, self.v, grad, self.t, 0.9, 0.999)
        return -self.rate * root(*right(self.m, self.v, self.t, 0.9, 0.999))


class ReturnsStep(Rule):
    def step(self, grad):
        return self.move(grad)


class ReturnsParameters(Rule):
    def update(self, params, grads):
        return params + self.move(grads)


class TakesGradientFirst(Rule):
    def apply(self, grads, params):
        return params + self.move(grads)


class ChangesInPlace(Rule):
    def step(self, params, grads):
        params += self.move(grads)


class TakesLists(Rule):
    def step(self, params, grads):
        for p, g in zip(params, grads, strict=True):
            p += self.move(g)


class TakesDicts(Rule):
    def update(self, params, grads):
        return {name: params[name] + self.move(grads[name]) for name in params}


class HasOneShape(Rule):
    def __init__(self):
        super().__init__(shape=(2, 3))

    def update(self, params, grads):
        assert grads.shape == (2, 3)
        return params + self.move(grads)


def holds_the_parameters():
    w, rule = np.array([3.0]), Rule()

    def step(grad):
        nonlocal w
        w = w + rule.move(grad)
        return w

    return step


def all_three(params, grads, state):
    m, v, t = state or (0.0, 0.0, 0)
    m, v = moments(m, v, grads, t, 0.9, 0.999)
    return params - 0.01 * root(*right(m, v, t + 1, 0.9, 0.999)), (m, v, t + 1)


CALLS = {
    "step(grad) -> step": ReturnsStep(),
    "step(grad) -> params": holds_the_parameters(),
    "update(params, grad) -> params": ReturnsParameters(),
    "apply(grad, params) -> params": TakesGradientFirst(),
    "step(params, grad) -> None, params changed in place": ChangesInPlace(),
    "step(params, grad) -> None, params changed in place on a list of arrays": TakesLists(),
    "update(params, grad) -> params on a dict of arrays": TakesDicts(),
    "all_three(params, grad, state) -> (params, state)": all_three,
}


@pytest.mark.parametrize("words", CALLS)
def test_any_way_of_calling_is_found(words):
    diagnosis = diagnose.update_rule(CALLS[words], claims=adam(0.01))
    assert diagnosis.ok, diagnosis
    assert f"Called as {words}." in diagnosis.notes, diagnosis


@pytest.mark.parametrize("rule", [ReturnsStep, HasOneShape, HasOneShape(), ChangesInPlace().step])
def test_classes_shapes_and_bound_methods(rule):
    diagnosis = diagnose.update_rule(rule, claims=adam(0.01))
    assert diagnosis.ok, diagnosis
    if isinstance(rule, Rule):
        assert rule.t == 0


def test_faults_are_named_however_they_are_called():
    class Forgetful(Rule):
        def update(self, params, grads):
            self.t += 1
            self.m, self.v = moments(self.m, self.v, grads, self.t, 0.9, 0.999)
            return params - self.rate * root(self.m, self.v)

    [finding] = diagnose.update_rule(Forgetful()).findings
    assert finding.code == "no-bias-correction"
    uphill = diagnose.update_rule(lambda params, grads: params + 0.1 * grads)
    assert [f.code for f in uphill.findings] == ["wrong-sign"]


def coupled(decay, rule):
    return optax.chain(optax.add_decayed_weights(decay), rule)


# What stands on the card: where ε is, how momentum is scaled, what is corrected, the maximum, how decay couples.
CARDS = {
    "Algorithm 1": (optax.adam(0.01), "adam", "beside the corrected root", "averages", "both", "none", "none"),
    "ε-hat": (adam(0.01, eps_hat=True), "adam-eps-hat", "beside the uncorrected", "averages", "both", "none", "none"),
    "AdamW": (optax.adamw(0.01, weight_decay=0.1), "adam", "beside", "averages", "both", "none", "decoupled"),
    "L2 in Adam": (coupled(0.1, optax.adam(0.01)), "adam", "beside", "averages", "both", "none", "an L2 term"),
    "L2 in momentum": (coupled(0.1, optax.sgd(0.01, 0.9)), "momentum", "none", "adds", "none", "none", "an L2 term"),
    "plain decay": (coupled(0.1, optax.sgd(0.01)), "gradient-descent", "none", "none", "none", "none", "−ηλy joins"),
    "RMSprop": (optax.rmsprop(0.01), "rmsprop-eps-inside", "inside the root", "none", "none", "none", "none"),
    "Optax's AMSGrad": (optax.amsgrad(0.01), "amsgrad", "beside", "averages", "both", "of the corrected", "none"),
    "PyTorch's AMSGrad": (
        adam(0.01, amsgrad=True, correct_first=False),
        *("amsgrad-uncorrected", "beside the corrected", "averages", "both", "of v, corrected", "none"),
    ),
    "AMSGrad in ε-hat form": (
        adam(0.01, amsgrad=True, correct_first=False, eps_hat=True),
        *("amsgrad-eps-hat", "beside the uncorrected", "averages", "both", "of v, corrected", "none"),
    ),
    "AMSGrad as published": (
        adam(0.01, amsgrad=True, bias_correction=False),
        *("amsgrad-without-correction", "beside the root", "averages", "none", "of v", "none"),
    ),
}


@pytest.mark.parametrize("name", CARDS)
def test_the_convention_card_is_right(name):
    optimizer, code, *traits = CARDS[name]
    card = diagnose.convention_card(optimizer)
    assert card.code == code, card
    found = card.epsilon, card.momentum, card.correction, card.maximum, card.decay
    for have, want in zip(found, traits, strict=True):
        assert want in have, card
    np.testing.assert_allclose(card.constants["learning_rate"], 0.01, rtol=1e-9)
    if "weight_decay" in card.constants:
        np.testing.assert_allclose(card.constants["weight_decay"], 0.1, rtol=1e-9)
    assert ("weight_decay" in card.constants) == (traits[-1] != "none")
    assert card.epsilon in str(card)


@pytest.mark.parametrize(
    ("update", "code"),
    [
        (coupled(0.1, optax.adam(0.01)), "different-decay"),
        (optax.adam(0.01), "different-decay"),
        (optax.adamw(0.01, weight_decay=0.2), "different-decay"),
        (adam(0.01, weight_decay=0.1), None),
    ],
)
def test_decay_is_part_of_the_claim(update, code):
    diagnosis = diagnose.update_rule(update, claims=optax.adamw(0.01, weight_decay=0.1))
    assert [f.code for f in diagnosis.findings] == ([code] if code else []), diagnosis


def test_the_card_of_code_that_is_not_ours():
    card = diagnose.convention_card(ReturnsParameters())
    assert card.code == "adam"
    assert card.way == "update(params, grad) -> params"
    assert card.decay == "none"
    assert "not seen" in diagnose.convention_card(ReturnsStep()).decay
    decayed = diagnose.convention_card(lambda params, grads: params - 0.1 * (grads + 0.01 * params))
    np.testing.assert_allclose(decayed.constants["weight_decay"], 0.01, rtol=1e-9)


def test_the_card_says_what_cannot_be_told():
    card = diagnose.convention_card(optax.sgd(0.1, momentum=0.9))
    assert any("averaged momentum" in other for other in card.alike)
    assert diagnose.convention_card(optax.sgd(0.1, momentum=0.9), learning_rate=1.0).code == "averaged-momentum"
    lion = diagnose.convention_card(optax.lion(0.01))
    assert "b2" not in lion.constants  # a sign is that of many averages
    assert lion.decay.startswith("decoupled")
    belief = diagnose.convention_card(optax.adabelief(0.01))
    assert belief.code == "unknown"
    assert belief.rule.startswith("unknown, nearest is")


RIGHT_FORMS = {
    "adam": adam(0.02),
    "adam-eps-hat": adam(0.02, eps_hat=True),
    "gradient-descent": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "rmsprop-eps-inside": optax.rmsprop(0.01),
    "rmsprop": optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False),
    "nadam": optax.nadam(0.01),
    "amsgrad": optax.amsgrad(0.01),
    "lion": optax.lion(0.01, weight_decay=0.0),
    "adagrad-optax": optax.adagrad(0.1),
    "sign-descent": optax.sign_sgd(0.1),
}


@pytest.mark.parametrize("code", RIGHT_FORMS)
def test_right_rules_pass_and_are_named(code):
    diagnosis = diagnose.update_rule(RIGHT_FORMS[code])
    assert diagnosis.ok, diagnosis
    assert BY_CODE[code].title.split(",")[0] in " ".join(diagnosis.notes), diagnosis


def test_folded_correction_is_recognized_as_a_convention():
    def update(grad, state):
        m, v, t = state or (0.0, 0.0, 0)
        t += 1
        m, v = moments(m, v, grad, t, 0.9, 0.999)
        rate = 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        return -rate * m / (np.sqrt(v) + 1e-8), (m, v, t)

    diagnosis = diagnose.update_rule(update)
    assert diagnosis.ok, diagnosis
    assert "ε-hat" in " ".join(diagnosis.notes)
    # Against Optax it is a difference of convention, and its size is told: (0.990 − 0.760) of a step, at g = 1e-6.
    [finding] = diagnose.update_rule(update, claims=optax.adam(0.01)).findings
    assert finding.code == "different-rule"
    np.testing.assert_allclose(finding.evidence["difference"], 0.23, atol=0.005)


def test_unusual_hyperparameters_are_recovered():
    diagnosis = diagnose.update_rule(optax.adam(0.03, b1=0.85, b2=0.97, eps=1e-6), claims=optax.adam(0.03))
    [finding] = diagnosis.findings
    assert finding.code == "different-hyperparameter", diagnosis
    for name, value in {"learning_rate": 0.03, "b1": 0.85, "b2": 0.97, "eps": 1e-6}.items():
        np.testing.assert_allclose(finding.evidence[name], value, rtol=1e-6, err_msg=name)


def test_a_fault_at_unusual_hyperparameters_is_named_too():
    rule = by_hand(lambda m, v, t, _b1, b2: (m, v / (1 - b2**t)), root, b1=0.8, b2=0.95)
    [finding] = diagnose.update_rule(rule).findings
    assert finding.code == "first-moment-not-corrected"
    np.testing.assert_allclose([finding.evidence["b1"], finding.evidence["b2"]], [0.8, 0.95], rtol=1e-6)


def test_a_forgotten_share_is_another_learning_rate():
    rule = by_hand(right, root, lambda m, v, g, _t, b1, b2: (b1 * m + g, b2 * v + (1 - b2) * g**2))
    alone = diagnose.update_rule(rule)
    assert alone.ok  # no sequence of gradients can tell
    assert "forgotten" in " ".join(alone.notes)
    for options in ({"learning_rate": 0.01}, {"claims": optax.adam(0.01)}):
        [finding] = diagnose.update_rule(rule, **options).findings
        assert finding.code == "first-moment-not-averaged", finding
        np.testing.assert_allclose(finding.evidence["factor"], 10, rtol=1e-9)


def test_twins_are_listed_together():
    [finding] = diagnose.update_rule(PLANTED["power-of-time-forgotten"]).findings
    assert "never incremented" in finding.message


@pytest.mark.parametrize(
    ("update", "claims", "code"),
    [
        (optax.sgd(0.1, momentum=0.9), Momentum(0.9), None),
        (optax.sgd(0.1, momentum=0.9), Momentum(0.8), "different-hyperparameter"),
        (optax.sgd(0.1, momentum=0.9), Nesterov(0.9), "different-rule"),
        (optax.sgd(0.1, momentum=0.9), Sgd(), "different-rule"),
        (optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.1)), AveragedMomentum(0.9), None),
        (optax.adam(0.1), Adam(), None),
        (optax.adam(0.1), Sgd(), "different-rule"),
        (optax.adam(0.1), optax.adam(0.2), "learning-rate-factor"),
        (optax.adam(0.1), optax.sgd(0.1), "different-rule"),
        (adam(0.1, bias_correction=False), optax.adam(0.1), "no-bias-correction"),
        (adam(0.1, bias_correction=False), adam(0.1, bias_correction=False), None),
        (optax.adabelief(0.1), optax.adabelief(0.1), None),
    ],
)
def test_claims_are_checked(update, claims, code):
    diagnosis = diagnose.update_rule(update, claims=claims)
    assert [f.code for f in diagnosis.findings] == ([code] if code else []), diagnosis


def test_unknown_rules_are_not_forced_into_a_label():
    def cube_root(grad, state):
        return -0.01 * np.cbrt(grad), state

    [finding] = diagnose.update_rule(cube_root).findings
    assert finding.code == "unknown-update-rule"
    assert finding.evidence["distance"] > 0.05, finding


def test_nan_without_a_reason():
    def broken(grad, state):
        n = (state or 0) + 1
        return (np.nan if n == 3 else -0.1) * grad, n

    assert [f.code for f in diagnose.update_rule(broken).findings] == ["nonfinite-step"]


def test_memory_that_leaks_is_found():
    class Memory:
        m = 0.0

    def update(grad, state):
        Memory.m = 0.9 * Memory.m + grad
        return -0.1 * Memory.m, state

    assert [f.code for f in diagnose.update_rule(update).findings] == ["memory-leaks"]


def test_division_by_zero_in_plain_python_numbers():
    def update(grad, state):
        m, v, t = state or (0.0, 0.0, 0)
        m, v = moments(m, v, float(grad), t, 0.9, 0.999)
        return -0.01 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8), (m, v, t + 1)

    assert [f.code for f in diagnose.update_rule(update).findings] == ["time-starts-at-zero"]


def test_clipping_and_decay_are_told():
    notes = " ".join(diagnose.update_rule(optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))).notes)
    assert "clips" in notes, notes
    told = " ".join(diagnose.update_rule(optax.adamw(0.1)).notes)
    assert "a weight decay, λ = 0.0001, decoupled" in told, told
    clean = " ".join(diagnose.update_rule(optax.adam(0.1)).notes)
    assert "clips" not in clean
    assert "decay" not in clean


def test_single_precision_is_enough_to_name_it():
    rule = by_hand(lambda m, v, *_: (m, v), root)

    def update(grad, state):
        step, state = rule(np.float32(grad), state)
        return np.float32(step), state

    assert [f.code for f in diagnose.update_rule(update).findings] == ["no-bias-correction"]


def test_a_state_that_must_be_given():
    def update(grad, state):
        return -0.1 * grad / state["temperature"], state

    with pytest.raises(ValueError, match="Argument `state` must"):
        diagnose.update_rule(update)
    assert diagnose.update_rule(update, state={"temperature": 2.0}).ok


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [
        ((None,), {}, "update"),
        (("adam",), {}, "update"),
        ((optax.sgd(0.1),), {"claims": "adam"}, "claims"),
        ((optax.sgd(0.1),), {"learning_rate": 0.0}, "learning_rate"),
        ((optax.sgd(0.1),), {"learning_rate": "fast"}, "learning_rate"),
        ((optax.sgd(0.1),), {"claims": lambda g, s: (g * np.nan, s)}, "claims"),
        ((lambda _a, _b, _c, d: d,), {}, "state"),
    ],
)
def test_bad_arguments_are_named(arguments, options, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must") as error:
        diagnose.update_rule(*arguments, **options)
    assert "\n" not in str(error.value)
