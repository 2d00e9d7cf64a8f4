"""A network with momentum that stays at a loss of one: caught in a local optimum, or following the wrong arrows?

    h = σ(x W₁),  o = σ(h W₂),    loss = Σ (o − y)² over the four samples of XOR,
    v ← β v + (1 − β) g,    W ← W − step · v

The script has kept the activations and takes the slope σ'(z) of the logistic function at them: σ'(a) instead of
σ'(z) = a (1 − a). What it follows is no gradient, of this loss or of any other.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from jaxnum import networks
from jaxnum._checks import as_count, check_positive, refuse
from jaxnum.cases.story import Chapter, Picture, Story, Tell, silence
from jaxnum.diagnose import Diagnosis, Network, Table, gradient, training
from jaxnum.numerics.march import march, saved_steps
from jaxnum.optimize import AveragedMomentum, stability_limit
from jaxnum.plot import canvas
from jaxnum.plot import networks as draw

X = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
Y = np.array([[0.0], [1.0], [1.0], [0.0]])
STUCK = 0.5  # a network that says 0.5 to everything has a loss of 1; half of that is far from solved


@dataclass(frozen=True)
class Config:
    """What can be changed about the training."""

    step: float = 0.5
    """Step size of the script."""
    slow_step: float = 0.1
    """Smaller step size, tried because the first one may have been too large."""
    momentum: float = 0.5
    """Share of the old velocity that is kept; the rest is the new gradient."""
    num_steps: int = 10_000
    """Steps of training."""
    num_starts: int = 200
    """Random starts, seeds 0, 1, 2, ... of np.random.RandomState."""

    def __post_init__(self) -> None:
        check_positive("step", self.step)
        check_positive("slow_step", self.slow_step)
        check_positive("momentum", self.momentum, zero_ok=True)
        if self.momentum >= 1:
            refuse("momentum", "be below 1", f"is {self.momentum:g}")
        as_count("num_steps", self.num_steps, at_least=100)
        as_count("num_starts", self.num_starts, at_least=2)


# The script ---------------------------------------------------------------------------------------------------------


def logistic(z):
    """Squash a sum into (0, 1)."""
    return 1 / (1 + np.exp(-z))


def slope(z):
    """Slope of the logistic function at a sum z."""
    return logistic(z) * (1 - logistic(z))


def weights(seed):
    """Draw the weights of a 3-4-1 network from (0, 1)."""
    random = np.random.RandomState(seed)
    return random.rand(3, 4), random.rand(4, 1)


def loss(w1, w2):
    """Sum of the squared errors of the four samples."""
    return np.sum((logistic(logistic(X @ w1) @ w2) - Y) ** 2)


def claimed_gradients(w1, w2):
    """Backpropagate the error. The mistake: slope() is meant for sums, and is given activations."""
    hidden = logistic(X @ w1)
    output = logistic(hidden @ w2)
    output_delta = 2 * (output - Y) * slope(output)
    hidden_delta = output_delta @ w2.T * slope(hidden)
    return X.T @ hidden_delta, hidden.T @ output_delta


def right_gradients(w1, w2):
    """Backpropagate the error, with the slope a (1 − a) that belongs to an activation a."""
    hidden = logistic(X @ w1)
    output = logistic(hidden @ w2)
    output_delta = 2 * (output - Y) * output * (1 - output)
    hidden_delta = output_delta @ w2.T * hidden * (1 - hidden)
    return X.T @ hidden_delta, hidden.T @ output_delta


def script(w1, w2, gradients=claimed_gradients, step=0.5, momentum=0.5, num_steps=10_000):
    """Train with averaged momentum, and return the weights."""
    v1, v2 = np.zeros_like(w1), np.zeros_like(w2)
    for _ in range(num_steps):
        g1, g2 = gradients(w1, w2)
        v1 = momentum * v1 + (1 - momentum) * g1
        v2 = momentum * v2 + (1 - momentum) * g2
        w1, w2 = w1 - step * v1, w2 - step * v2
    return w1, w2


# The script once more, for many starts at once ------------------------------------------------------------------------


def _outputs(w: Any) -> tuple[Any, Any]:
    hidden = jax.nn.sigmoid(jnp.asarray(X, w[0].dtype) @ w[0])
    return hidden, jax.nn.sigmoid(hidden @ w[1])


def _loss(w: Any) -> Any:
    return jnp.sum((_outputs(w)[1] - jnp.asarray(Y, w[0].dtype)) ** 2)


def _followed(w: Any, mistaken: Any) -> Any:
    """What a training follows: the script's arrows or the gradient."""

    def at(a):
        s = jax.nn.sigmoid(a)
        return jnp.where(mistaken, s * (1 - s), a * (1 - a))

    x, y = jnp.asarray(X, w[0].dtype), jnp.asarray(Y, w[0].dtype)
    hidden, output = _outputs(w)
    output_delta = 2 * (output - y) * at(output)
    return x.T @ ((output_delta @ w[1].T) * at(hidden)), hidden.T @ output_delta


def _step(state: Any, args: Any, _n: Any) -> Any:
    def one(w, v, mistaken, step, momentum):
        v = jax.tree.map(lambda v, g: momentum * v + (1 - momentum) * g, v, _followed(w, mistaken))
        return jax.tree.map(lambda w, v: w - step * v, w, v), v

    return jax.vmap(one, in_axes=(0, 0, 0, 0, None))(*state, *args)


def _observe(state: Any, _args: Any) -> Any:
    return jax.vmap(_loss)(state[0])


def _sum_of_squares(prediction: Any, target: Any) -> Any:
    return jnp.sum((prediction - target) ** 2)


def _perceptron(w1: Any, w2: Any) -> networks.Perceptron:
    # The script's matrices have a row for each input, a perceptron's a row for each output.
    return networks.Perceptron((jnp.asarray(w1).T, jnp.asarray(w2).T), (), jax.nn.sigmoid, jax.nn.sigmoid)


def _weights(model: networks.Perceptron) -> tuple[Any, ...]:
    return tuple(jnp.swapaxes(w, -1, -2) for w in model.weights)


@jax.jit
@partial(jax.vmap, in_axes=(0, None))
def _asymmetry(w: Any, mistaken: Any) -> Any:
    """Return ‖J − Jᵀ‖/‖J‖ of the arrows followed, for each start: zero for the gradient of anything."""
    flat, back = ravel_pytree(w)
    jacobian = jax.jacfwd(lambda p: ravel_pytree(_followed(back(p), mistaken))[0])(flat)
    return jnp.linalg.norm(jacobian - jacobian.T) / jnp.linalg.norm(jacobian)


@jax.jit
@jax.vmap
def _compare(w: Any) -> Any:
    """Return for each network the length of the gradient, and the cosine between it and the script's arrow."""
    arrow, gradient = (ravel_pytree(g)[0] for g in (_followed(w, True), jax.grad(_loss)(w)))
    length = jnp.linalg.norm(gradient)
    return length, arrow @ gradient / (jnp.linalg.norm(arrow) * length)


@jax.jit
@jax.vmap
def _curvatures(w: Any) -> Any:
    """Return the smallest and the largest curvature of the loss at each network."""
    flat, back = ravel_pytree(w)
    return jnp.linalg.eigvalsh(jax.hessian(lambda p: _loss(back(p)))(flat))[jnp.array([0, -1])]


# The story ----------------------------------------------------------------------------------------------------------


def run(config: Config = Config(), tell: Tell = silence) -> Story:
    """Tell the story: training that gets stuck, what it really followed, and the line that cures it."""
    n, count = config.num_steps, config.num_starts
    every = max(1, n // 200)
    steps = saved_steps(n, every)

    tell(0.0, "running the script")
    start = weights(0)
    by_hand = script(*start, claimed_gradients, config.step, config.momentum, n)

    tell(0.1, f"training {4 * count} networks: two derivatives, two step sizes")
    settings = tuple((wrong, step) for wrong in (True, False) for step in (config.step, config.slow_step))
    w0 = tuple(np.stack([weights(seed)[i] for seed in range(count)] * len(settings)) for i in (0, 1))
    wrong = np.repeat([s[0] for s in settings], count)
    rates = np.repeat([s[1] for s in settings], count)
    many = partial(march, _step, _observe, num_steps=n, save_every=every)
    still = tuple(np.zeros_like(w) for w in w0)
    ((ends, _), losses) = many((w0, still), (wrong, rates, config.momentum))
    losses = np.asarray(losses).T.reshape(len(settings), count, -1)
    last = losses[:, :, -1]
    stuck = last > STUCK

    tell(0.5, "training on from where they ended, with the right derivative")
    ((_, _), onward) = many((ends, still), (np.zeros_like(wrong), rates, config.momentum))
    onward = np.asarray(onward).T.reshape(len(settings), count, -1)

    tell(0.75, "measuring what the script follows")
    first = tuple(w[:count] for w in w0)
    twist, control = np.asarray(_asymmetry(first, True)), float(np.max(_asymmetry(first, False)))
    claimed, true = claimed_gradients(*start), jax.jit(jax.grad(_loss))(start)
    ratios = tuple(np.asarray(c) / np.asarray(t) for c, t in zip(claimed, true, strict=True))
    truth, cosine = (np.asarray(a).reshape(len(settings), count) for a in _compare(ends))

    tell(0.85, "training with the right derivative")
    rule = optax.chain(optax.ema(config.momentum, debias=False), optax.scale(-config.step))
    teach = partial(networks.train, optimizer=rule, x=X, y=Y, loss=_sum_of_squares, num_steps=n, save_every=every)
    cured = teach(_perceptron(*start))
    mended = script(*start, right_gradients, config.step, config.momentum, n)
    worst = int(np.argmax(last[3]))
    plateau = tuple(np.asarray(e)[3 * count + worst] for e in ends)
    path = jax.tree.map(lambda a, b: np.concatenate([a, b[None]]), _weights(cured.history.y), plateau)
    curvatures = np.asarray(_curvatures(path))
    curvature = float(curvatures[:-1, 1].max())
    limit = float(stability_limit(AveragedMomentum(config.momentum), curvature))
    held = [int(i) for i in np.flatnonzero(stuck[0]) if onward[0, i, -1] > STUCK / 10]
    diagnoses = [_diagnose(start)]
    if held:
        again = teach(_perceptron(*(np.asarray(e)[held[0]] for e in ends)))
        diagnoses.append(training(again, X, Y, loss=_sum_of_squares))
    tell(1.0, "done")

    fast, tried = f"{config.step:g}", f"{config.slow_step:g}"
    freed = [int(np.sum(onward[i, stuck[i], -1] <= STUCK / 10)) for i in (0, 1)]
    shares, uphill = stuck.mean(axis=1), int(np.sum(cosine[0][stuck[0]] < 0))
    said = {name: logistic(logistic(X @ w1) @ w2)[:, 0] for name, (w1, w2) in (("script", by_hand), ("mended", mended))}
    arrays = {
        "steps": steps,
        "losses": losses,
        "losses_trained_on": onward,
        "asymmetry": twist,
        "ratios_hidden": ratios[0],
        "ratios_output": ratios[1],
        "outputs_script": said["script"],
        "outputs_mended": said["mended"],
        "cured_weights_hidden": np.asarray(cured.value.weights[0]).T,
        "cured_weights_output": np.asarray(cured.value.weights[1]).T,
    }
    symptom = Chapter(
        text=(
            "A 3-4-1 logistic network shall learn XOR; its third input is always 1 and does the work of a bias. The "
            f"gradient is written by hand, steps are {fast} times a velocity that averages gradients (momentum "
            f"{config.momentum:g}), and weights start anywhere between 0 and 1. From the first start (seed 0), "
            f"{n:,} steps end at a loss of {loss(*by_hand):.3f}, about what a network scores that says 0.5 to all.",
            "A local optimum, then, which momentum fails to leave? Try other starts: "
            f"{100 * shares[0]:.3g} % of {count} end above a loss of {STUCK:g}. Is the step too large? With "
            f"{tried} it is {100 * shares[1]:.3g} %. (The loss is the sum of the squared errors over the four samples, "
            "without a factor ½.)",
        ),
        facts={
            "loss at the end, seed 0": loss(*by_hand),
            f"share of starts above {STUCK:g}, step {fast}": shares[0],
            f"share of starts above {STUCK:g}, step {tried}": shares[1],
            "starts": count,
            "largest difference between the script and its retelling, seed 0": max(
                np.abs(np.asarray(e)[0] - w).max() for e, w in zip(ends, by_hand, strict=True)
            ),
        },
        tables=(
            _table_of_outputs("What the script's network says after training, seed 0", {"output": said["script"]}),
        ),
        pictures=(
            Picture(
                "script-losses",
                f"{count} trainings with the script's derivative: at step {fast} some never come down from a loss of "
                f"about 1, at {tried} most do not.",
                lambda: _fans(steps, losses[:2], (fast, tried), "The script"),
            ),
        ),
    )
    diagnosis = Chapter(
        text=(
            "Compare what the script calls a gradient with the gradient, at its own start. For the output weights it "
            f"is {ratios[1].min():.2f} to {ratios[1].max():.2f} times too long, for the hidden weights "
            f"{ratios[0].min():.2f} to {ratios[0].max():.2f} times: no common factor, so no step size makes up for it.",
            "The cause is one function. slope(z) = σ(z)(1 − σ(z)) is right for a sum z. The script calls it with what "
            "it has kept, the activation a = σ(z), and so takes the logistic function twice. For any a between 0 and 1 "
            "the result lies between 0.197 and 0.250: a unit that has made up its mind, whose slope a (1 − a) is "
            "nearly zero, is pushed as hard as one that has not.",
            "What comes out is not the gradient of another loss either. The Jacobian of a gradient is a Hessian and "
            f"symmetric; here its antisymmetric part is ‖J − Jᵀ‖/‖J‖ = {twist[0]:.3f} at seed 0 and "
            f"{np.median(twist):.3f} in the median over the starts ({control:.0e} with the right derivative). The "
            "script goes down no hill at all, and where it comes to rest says nothing about the loss.",
            f"Nor was there a local optimum. Where the {stuck[0].sum()} stuck runs ended the true gradient is not "
            f"zero, but {truth[0][stuck[0]].min(initial=np.inf):.1g} or more, and for {uphill} of them the script's "
            "arrow points uphill. Trained on from those very weights with the right derivative, "
            f"{freed[0]} of {stuck[0].sum()} fall below {STUCK / 10:g}, and {freed[1]} of {stuck[1].sum()} at step "
            f"{tried}." + _held(held, diagnoses),
            f"Momentum is innocent: averaged, it allows steps up to 2(1 + β)/((1 − β)λ) = {limit:.2g} for the largest "
            f"curvature λ = {curvature:.2f} met on the way down with the right derivative, and {fast} is "
            f"{'below' if config.step < limit else 'above'} that.",
        ),
        facts={
            **{f"claimed / true, output weight {i + 1}": r for i, r in enumerate(ratios[1][:, 0])},
            "claimed / true, hidden weights, smallest": ratios[0].min(),
            "claimed / true, hidden weights, largest": ratios[0].max(),
            "asymmetry of the Jacobian, seed 0": twist[0],
            "asymmetry of the Jacobian, median over the starts": np.median(twist),
            "asymmetry with the right derivative, largest": control,
            "smallest true gradient where the script got stuck": truth[0][stuck[0]].min(initial=np.inf),
            f"stuck, then below {STUCK / 10:g} with the right derivative, step {fast}": freed[0],
            f"stuck, then below {STUCK / 10:g} with the right derivative, step {tried}": freed[1],
            "largest curvature on the way down": curvature,
            "largest stable step for it": limit,
        },
        tables=(_table_of_ratios(ratios),),
        pictures=(
            Picture(
                "slopes",
                "Left: the slope that belongs to an activation, and the one that the script uses; dots are the units "
                "of seed 0. Right: how many times too long each component of the claimed gradient is.",
                lambda: _slopes(start, ratios),
            ),
            Picture(
                "trained-on",
                f"The runs that got stuck at step {fast}, trained on from where they were with the right derivative "
                "(right of the line): no optimum held them.",
                lambda: _onward(steps, losses[0][stuck[0]], onward[0][stuck[0]]),
            ),
        ),
    )
    cure = Chapter(
        text=(
            "Call slope() with the sums, or write a (1 − a) where only the activation a is at hand. In both layers:\n"
            "output_delta = 2 * (output - Y) * output * (1 - output)\n"
            "hidden_delta = output_delta @ w2.T * hidden * (1 - hidden)",
            f"Nothing else changes, and from the same {count} starts {_share(shares[2])} end above {STUCK:g} at step "
            f"{fast} and {_share(shares[3])} at {tried}. At step {fast} the worst of them ends at "
            f"{last[2].max():.2g}." + _slow(losses, curvatures[-1, 0], config),
            "Or write no derivative at all: networks.train takes it from the loss, and follows the mended script to "
            f"{_gap(_weights(cured.value), mended):.0e} over all {n:,} steps.",
        ),
        facts={
            f"share of starts above {STUCK:g}, step {fast}": shares[2],
            f"share of starts above {STUCK:g}, step {tried}": shares[3],
            f"largest loss of all starts, step {fast}": last[2].max(),
            "loss at the end, seed 0": float(cured.history.value[-1]),
            "largest difference between networks.train and the mended script": _gap(_weights(cured.value), mended),
        },
        tables=(_table_of_outputs("What the mended network says, seed 0", {"output": said["mended"]}),),
        pictures=(
            Picture(
                "outcomes",
                f"Left: how many starts end above a loss of {STUCK:g}. Right: the same {count} starts with the right "
                f"derivative at step {fast}.",
                lambda: _outcomes(shares, steps, losses[2], (fast, tried)),
            ),
            Picture(
                "decision",
                "What the network of seed 0 says about the plane, trained by the script and with the right derivative.",
                lambda: _decisions(by_hand, cured.value),
            ),
        ),
    )
    return Story(
        "momentum_network",
        "My network with momentum is stuck at a loss of 1: a local optimum?",
        symptom,
        diagnosis,
        cure,
        tuple(diagnoses),
        arrays,
    )


def _gap(one: Any, other: Any) -> float:
    return float(max(np.abs(np.asarray(a) - b).max() for a, b in zip(one, other, strict=True)))


def _share(share: float) -> str:
    return "none" if share == 0 else f"{100 * share:.2g} %"


def _held(seeds: list[int], diagnoses: list[Diagnosis]) -> str:
    """Say what holds those that the right derivative did not free."""
    if not seeds:
        return ""
    said = " ".join(f.message for f in diagnoses[-1].findings[:1])
    return (
        f" {'The other one' if len(seeds) == 1 else f'The first of the other {len(seeds)}'} (seed {seeds[0]}) is the "
        f"script's doing as well, which had pushed its weights too far: {said[:1].lower()}{said[1:]}"
    )


def _slow(losses: Any, lowest: float, config: Config) -> str:
    """Say what holds the network that ends highest at the slow step although its derivative is right."""
    seed = int(np.argmax(losses[3][:, -1]))
    if losses[3][seed, -1] <= STUCK:
        return ""
    kind = "on a plateau, not in a minimum" if lowest < 0 else "at rest"
    return (
        f" The one that ends highest at {config.slow_step:g} (seed {seed}, loss {losses[3][seed, -1]:.2f}) is {kind}: "
        f"the smallest curvature there is {lowest:.1e}. The same start at step {config.step:g} comes down to "
        f"{losses[2][seed, -1]:.2g}."
    )


def _diagnose(start: Any) -> Diagnosis:
    """Ask what is wrong with the script's gradient, at its own first weights."""
    return gradient(loss, claimed_gradients, start, network=Network(X, Y))


def _table_of_outputs(title: str, columns: dict) -> Table:
    rows = zip(X[:, 0], X[:, 1], Y[:, 0], *columns.values(), strict=True)
    return Table(title, ("input 1", "input 2", "target", *columns), tuple(tuple(map(float, row)) for row in rows))


def _table_of_ratios(ratios: Any) -> Table:
    rows = [(f"w1, from input {i + 1}", *map(float, row)) for i, row in enumerate(ratios[0])]
    rows.append(("w2, to the output", *map(float, ratios[1][:, 0])))
    heads = ("weights", *(f"unit {i + 1}" for i in range(4)))
    return Table("Claimed gradient divided by the true one, seed 0", heads, tuple(rows))


# Pictures -----------------------------------------------------------------------------------------------------------


def _fans(steps: Any, losses: Any, names: tuple[str, ...], title: str) -> Any:
    paper, panels = canvas.figure(1, 2, size=(9.2, 3.9), sharey=True)
    for ax, curves, name in zip(panels, losses, names, strict=True):
        draw.fan(steps, curves, stuck_above=STUCK, ax=ax)
        ax.set(title=f"{title} at step {name}", ylabel="loss (sum of squares)")
        ax.label_outer()
    return paper


def _slopes(start: Any, ratios: Any) -> Any:
    paper, (left, right) = canvas.figure(1, 2, size=(9.2, 3.9))
    a = np.linspace(0, 1, 201)
    hidden = logistic(X @ start[0])
    left.plot(a, a * (1 - a), color=canvas.BLUE, label="right: a (1 − a)")
    left.plot(a, slope(a), color=canvas.RED, label="used: σ(a) (1 − σ(a))")
    for values, marker, words in ((hidden, "o", "hidden units"), (logistic(hidden @ start[1]), "s", "output")):
        values = values.ravel()
        left.plot(values, slope(values), marker, color=canvas.RED, ms=5, alpha=0.6)
        left.plot(values, values * (1 - values), marker, color=canvas.BLUE, ms=5, alpha=0.6)
        left.plot([], [], marker, color="0.4", ms=5, label=f"{words}, seed 0")
    left.set(xlabel="activation a", ylabel="slope of the logistic function", ylim=(0, 0.27))
    left.set_title("The slope at an activation")
    left.legend(loc="lower center")
    for i, row in enumerate(ratios[0]):
        right.plot(np.arange(1, 5), row, "o", color=canvas.COLORS[i], label=f"w₁, input {i + 1}")
    right.plot(np.arange(1, 5), ratios[1][:, 0], "s", color=canvas.BLACK, label="w₂")
    right.axhline(1, color="0.4", lw=1)
    right.set(
        xlabel="hidden unit", ylabel="claimed / true gradient", xticks=range(1, 5), xlim=(0.6, 4.4), ylim=(0, None)
    )
    right.set_title("No common factor: 1 would be right")
    right.legend(loc="lower center", ncols=2)
    return paper


def _onward(steps: Any, before: Any, after: Any) -> Any:
    paper, ax = canvas.figure(size=(7.6, 3.9))
    draw.fan(np.concatenate([steps, steps[-1] + steps[1:]]), np.concatenate([before, after[:, 1:]], axis=1), ax=ax)
    ax.axvline(steps[-1], color=canvas.BLACK, lw=1.2)
    ax.set(title=f"{len(before)} stuck runs, trained on with the right derivative", ylabel="loss (sum of squares)")
    for at, side, words in ((0.49, "right", "the script's arrows "), (0.51, "left", " the gradient")):
        ax.text(at, 0.04, words, ha=side, transform=ax.transAxes)
    return paper


def _outcomes(shares: Any, steps: Any, losses: Any, names: tuple[str, ...]) -> Any:
    paper, (left, right) = canvas.figure(1, 2, size=(9.2, 3.9))
    series = {"σ'(a), the script": shares[:2], "a (1 − a), right": shares[2:]}
    draw.outcomes(series, [f"step {name}" for name in names], ax=left)
    left.set_title(f"Starts that end above a loss of {STUCK:g}")
    draw.fan(steps, losses, stuck_above=STUCK, ax=right)
    right.set(title=f"The right derivative at step {names[0]}", ylabel="loss (sum of squares)")
    return paper


def _decisions(script_weights: Any, cured: Any) -> Any:
    paper, panels = canvas.figure(1, 2, size=(9.2, 4.0))
    bad = _perceptron(*script_weights)
    for ax, model, words in zip(panels, (bad, cured), ("the script", "the right derivative"), strict=True):
        draw.decision_surface(model, X, Y, ax=ax)
        ax.set_title(f"Trained by {words}")
    return paper
