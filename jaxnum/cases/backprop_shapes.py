"""A backward pass that ends in "operands could not be broadcast together": six mistakes, one of which raises an error.

    z_l = a_{l−1} W_l,    a_l = φ(z_l),    δ_L = (a_L − y) φ'(z_L)
    δ_l = (δ_{l+1} W_{l+1}ᵀ) φ'(z_l),    dW_l = a_{l−1}ᵀ δ_l

The message points at the last line. NumPy had let the others pass: where shapes can be stretched to fit, they are, and
where they fit by accident nothing is said at all.
"""

import linecache
import re
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnum._checks import as_count, check_positive
from jaxnum.cases.story import Chapter, Picture, Story, Tell, silence
from jaxnum.diagnose.backprop.network import Network
from jaxnum.diagnose.backprop.shapes import shapes
from jaxnum.diagnose.report import Diagnosis, Table
from jaxnum.networks import perceptron, train_many
from jaxnum.optimize.stability import check_share
from jaxnum.plot import canvas
from jaxnum.plot import networks as draw

TITLE = "My backpropagation ends in a broadcast error. Which of its lines is wrong?"
LEARNED = 1e-3  # mean squared error below which a network has learned: answers are right to 0.03

X = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
Y = np.array([[0.0], [0.0], [1.0], [1.0]])


@dataclass(frozen=True)
class Config:
    """What can be changed in this story."""

    seed: int = 0
    """Seed of the weights."""
    spread: float = 0.1
    """Standard deviation of the weights at the start."""
    step: float = 2.0
    """Learning rate of the cure."""
    momentum: float = 0.9
    """Share of the memory that the cure keeps at each step."""
    num_steps: int = 5000
    """Steps of each training."""
    num_keys: int = 20
    """Starts that are trained from."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", as_count("seed", self.seed, at_least=0))
        check_positive("spread", self.spread)
        check_positive("step", self.step)
        check_share("momentum", self.momentum)
        object.__setattr__(self, "num_steps", as_count("num_steps", self.num_steps, at_least=100))
        object.__setattr__(self, "num_keys", as_count("num_keys", self.num_keys, at_least=2))


# The script -----------------------------------------------------------------------------------------------------------

SCRIPT = """\
def one_pass():
    hidden_sum = x @ w1.T
    hidden = 1 / (1 + np.exp(+hidden_sum))
    output_sum = np.sum(hidden + w2, axis=1, keepdims=True)
    output = 1 / (1 + np.exp(+output_sum))
    error = output - y
    output_slope = output @ (1 - output).T
    output_delta = output_slope @ error
    w2_update = output_delta / hidden
    back = output_delta / w2
    hidden_slope = hidden * (1 - hidden)
    hidden_delta = back * hidden_slope
    new_w2 = w2 - rate * w2_update
    w1_update = hidden_delta.T * x
    new_w1 = w1 - rate * w1_update
"""

# What each mistake is mended by: pieces of the script and what must stand there.
MENDS: dict[str, tuple[tuple[str, str], ...]] = {
    "flipped-sign": ((r"np\.exp\(\+", "np.exp(-"),),
    "sum-for-product": ((r"np\.sum\(hidden \+ w2, axis=1, keepdims=True\)", "hidden @ w2.T"),),
    "outer-product": (
        (r"output @ \(1 - output\)\.T", "output * (1 - output)"),
        (r"output_slope @ error", "output_slope * error"),
    ),
    "division": ((r"output_delta / hidden", "output_delta * hidden"), (r"output_delta / w2", "output_delta * w2")),
    "not-summed": ((r"w2_update = (.*)", r"w2_update = np.sum(\1, axis=0, keepdims=True)"),),
    "elementwise-product": ((r"hidden_delta\.T \* x", "hidden_delta.T @ x"),),
}

# What the script's names stand for.
NAMES = {
    "z1": "hidden_sum",
    "a1": "hidden",
    "z2": "output_sum",
    "a2": "output",
    "error": "error",
    "slope2": "output_slope",
    "delta2": "output_delta",
    "dW2": "w2_update",
    "back1": "back",
    "slope1": "hidden_slope",
    "delta1": "hidden_delta",
    "dW1": "w1_update",
    "new_W2": "new_w2",
    "new_W1": "new_w1",
    "W1": "w1",
    "W2": "w2",
}


def script(mended: tuple[str, ...] = ()) -> str:
    """Return the script with some of its mistakes mended."""
    text = SCRIPT
    for code in mended:
        for wrong, right in MENDS[code]:
            text = re.sub(wrong, right, text)
    return text


def weights(config: Config = Config()) -> tuple[np.ndarray, np.ndarray]:
    """Return the script's weights, (units, inputs) and (outputs, units)."""
    random = np.random.default_rng(config.seed)
    return random.normal(0, config.spread, (3, 2)), random.normal(0, config.spread, (1, 3))


def one_pass(config: Config = Config(), mended: tuple[str, ...] = ()) -> Any:
    """Return the script's function, with some of its mistakes mended."""
    text = script(mended)
    w1, w2 = weights(config)
    scope = {"np": np, "x": X, "y": Y, "w1": w1, "w2": w2, "rate": config.step}
    name = f"<the script, {len(mended)} mended: {', '.join(mended)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)  # so that its lines can be quoted
    exec(compile(text, name, "exec"), scope)
    return scope["one_pass"]


def examine(config: Config = Config(), mended: tuple[str, ...] = ()) -> Diagnosis:
    """Look at every quantity of the script."""
    return shapes(one_pass(config, mended), Network(X, Y), weights(config), names=NAMES)


# The story ------------------------------------------------------------------------------------------------------------


def run(config: Config = Config(), tell: Tell = silence) -> Story:
    """Tell the story."""
    tell(0.0, "running the script")
    first = examine(config)
    tell(0.1, "mending one mistake at a time")
    codes = list(MENDS)
    left = []
    for count in range(len(codes) + 1):
        found = first if count == 0 else examine(config, tuple(codes[:count]))
        left.append(list(dict.fromkeys(f.code for f in found.findings)))
    last = found
    tell(0.2, "training without biases")
    steps, losses = {}, {}
    ways = {
        "no biases": (False, config.momentum),
        "no momentum": (True, 0.0),
        "biases and momentum": (True, config.momentum),
    }
    trained = None
    for number, (name, (use_bias, momentum)) in enumerate(ways.items()):
        tell(0.2 + 0.25 * number, f"training, {name}")
        trained = _train(config, use_bias, momentum)
        steps[name], losses[name] = np.asarray(trained.history.step)[0], np.asarray(trained.history.value)
    tell(1.0, "done")
    answers = np.asarray(eqx.filter_vmap(lambda model: jax.vmap(model)(jnp.asarray(X)))(trained.value))
    model = jax.tree.map(lambda a: a[0] if eqx.is_array(a) else a, trained.value)
    arrays = {"steps": steps["biases and momentum"], "answers": answers}
    arrays |= {f"losses_{name.replace(' ', '_')}": values for name, values in losses.items()}
    return Story(
        name="backprop_shapes",
        title=TITLE,
        symptom=_symptom(config, first),
        diagnosis=_diagnosis(first, left, codes, last),
        cure=_cure(config, steps, losses, answers, model),
        diagnoses=(first,),
        arrays=arrays,
    )


@dataclass(frozen=True)
class _Small:
    """Makes a network with the small weights of the script; equal ones share a compilation."""

    spread: float
    use_bias: bool

    def __call__(self, key: Any) -> Any:
        model = perceptron((2, 3, 1), use_bias=self.use_bias, key=key)
        keys = jax.random.split(key, len(model.weights))
        small = tuple(
            self.spread * jax.random.normal(k, w.shape, w.dtype) for k, w in zip(keys, model.weights, strict=True)
        )
        return eqx.tree_at(lambda m: m.weights, model, small)


def _train(config: Config, use_bias: bool, momentum: float) -> Any:
    keys = jax.random.split(jax.random.key(config.seed), config.num_keys)
    optimizer = optax.sgd(config.step, momentum=momentum)
    make = _Small(config.spread, use_bias)
    every = max(1, config.num_steps // 250)
    return train_many(make, optimizer, X, Y, keys=keys, num_steps=config.num_steps, save_every=every)


def _symptom(config: Config, first: Diagnosis) -> Chapter:
    [table] = first.tables
    kept = tuple((row[1] or row[0], row[2]) for row in table.rows)
    failure = next((note for note in first.notes if "does not end" in note), "It ends.")
    text = (
        "A network of 2 inputs, 3 hidden units and 1 output is to learn (0, 1) → 0, (1, 0) → 0, (1, 1) → 1 and "
        f"(0, 0) → 1. The weights start as normal numbers of deviation {config.spread:g}; forward pass, backward pass "
        "and update are written by hand in NumPy.",
        failure,
        "So one transposes here and sums there until it runs, and then it does not learn. Which line is wrong?",
    )
    facts = {
        "lines that run before the error": sum(row[2] != "fails" for row in table.rows),
        "largest array on the way": str(max((row[2] for row in table.rows if row[2] != "fails"), key=_size)),
    }
    return Chapter(text, facts, (Table("The script, and the shapes it has", ("line", "shape"), kept),))


def _size(shape: str) -> int:
    return int(np.prod([int(n) for n in re.findall(r"\d+", shape)]))


def _diagnosis(first: Diagnosis, left: list[list[str]], codes: list[str], last: Diagnosis) -> Chapter:
    right = sum(row[-1] == "right" for row in first.tables[0].rows)
    text = (
        f"Six mistakes in {len(first.findings)} places; the error comes from the last of them, and {right} of "
        f"{len(first.tables[0].rows)} quantities are right. Each line was judged by what it does with what it is "
        "given, so that a mistake further up hides none further down.",
        "Three of them have the right shape, and NumPy is silent about them for good: a plus in the exponent, weights "
        "that are added instead of multiplied, and a division where the chain rule multiplies. Two have a wrong shape "
        "that NumPy stretches: the outer product, (4, 4) for (4, 1), and the update that is not summed over the "
        "samples, (4, 3) for (1, 3), after which the weights themselves have another shape.",
        "Mended one at a time, in any order, the remaining ones are still found, and with all six mended nothing is: "
        f"{'the pass is right' if last.ok else 'something is left'}.",
    )
    rows = [("nothing", ", ".join(left[0]))]
    rows += [(code, ", ".join(found) or "nothing") for code, found in zip(codes, left[1:], strict=True)]
    facts = {
        "mistakes found in the script": len(left[0]),
        "places": len(first.findings),
        "found with all of them mended": len(left[-1]),
    }
    tables = (Table("Mended one after the other", ("mended, with those above", "still found"), tuple(rows)),)
    shapes_seen = [(row[0], row[2], row[3], row[-1]) for row in first.tables[0].rows]
    pictures = (
        Picture(
            "shapes",
            "Every quantity of the pass: the shape it has (left) and the one it must have (right). Lines that are "
            "wrong are red; those that only inherit a wrong value are orange.",
            lambda: _draw_shapes(shapes_seen),
        ),
    )
    return Chapter(text, facts, tables, pictures)


def _cure(config: Config, steps, losses, answers, model) -> Chapter:
    learned = {name: int(np.sum(values[:, -1] < LEARNED)) for name, values in losses.items()}
    best = losses["biases and momentum"]
    count, n = config.num_keys, config.num_steps
    text = (
        "The right lines, in the script's own names:\n" + script(tuple(MENDS)).partition("\n")[2].replace("    ", ""),
        f"They are right, and with these small weights they are not enough. Units without biases all pass through ½ at "
        f"the input (0, 0), and {learned['no biases']} of {count} starts learn within {n} steps. Small weights also "
        "make the start a plateau, where all units do the same and the gradient is small; plain descent at the same "
        f"rate gets {learned['no momentum']} of {count} off it in time.",
        f"With biases and momentum {config.momentum:g} at rate {config.step:g}, {learned['biases and momentum']} of "
        f"{count} networks from the same small weights reach a mean squared error below {LEARNED:g}; the worst ends "
        f"at {best[:, -1].max():.2g}. `networks.train_many` trains them in one compiled call and takes every gradient "
        "from the loss, so that there is no backward pass to get wrong.",
    )
    facts = {f"learned, {name}": f"{k} of {count}" for name, k in learned.items()}
    facts["largest mean squared error, biases and momentum"] = float(best[:, -1].max())
    rows = tuple((*X[i].tolist(), float(Y[i, 0]), float(answers[0, i, 0])) for i in range(len(X)))
    table = Table("What the first network says", ("input 1", "input 2", "target", "answer"), rows)
    pictures = (
        Picture(
            "training",
            f"Mean squared error of {count} starts: without biases, without momentum, and with both.",
            lambda: _draw_training(steps, losses),
        ),
        Picture(
            "decision",
            "What the first network says about the plane; the four samples are drawn in.",
            lambda: _draw_decision(model),
        ),
    )
    return Chapter(text, facts, (table,), pictures)


# Pictures -------------------------------------------------------------------------------------------------------------


def _draw_shapes(rows):
    """Draw every array to scale, as it is and as it must be."""
    paper, ax = canvas.figure(size=(7.6, 0.62 * len(rows) + 1.0))
    unit, colors = 0.17, {"right": canvas.BLUE, "wrong": canvas.RED}
    for place, (role, has, must, verdict) in enumerate(rows):
        y = -place
        color = colors.get(verdict, canvas.ORANGE)
        for left, shape in ((1.1, has), (2.9, must)):
            sizes = [int(k) for k in re.findall(r"\d+", shape)]
            if len(sizes) == 2:
                for i in range(sizes[0]):
                    for j in range(sizes[1]):
                        tone = color if left < 2 else "0.55"
                        ax.add_patch(_cell(left + unit * j, y + 0.36 - unit * (i + 1), unit, tone))
            at, words = (left + 0.8, shape) if sizes else (left, "cannot be formed")
            ax.text(at, y, words, va="center", color="0.25")
        ax.text(0.95, y, role, ha="right", va="center", color=color, weight="bold")
        ax.text(4.6, y, verdict, va="center", color=color)
    ax.set(xlim=(0, 6.4), ylim=(-len(rows) + 0.3, 1.1), xticks=[], yticks=[])
    for left, words in ((1.1, "has"), (2.9, "must have"), (4.6, "verdict")):
        ax.text(left, 0.75, words, va="center")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return paper


def _cell(x, y, size, color):
    return canvas.rectangle(x, y, size, size, color)


def _draw_training(steps, losses):
    paper, panels = canvas.figure(1, 3, size=(10.4, 3.7), sharey=True)
    for ax, (name, values) in zip(panels, losses.items(), strict=True):
        draw.fan(steps[name], values, stuck_above=LEARNED, ax=ax)
        ax.set(title=name.capitalize(), ylabel="mean squared error")
        ax.label_outer()
    return paper


def _draw_decision(model):
    paper, ax = canvas.figure(size=(5.2, 4.3))
    draw.decision_surface(model, X, Y, ax=ax)
    ax.set_title("Equal inputs: 1, different ones: 0")
    return paper
