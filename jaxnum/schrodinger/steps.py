"""One step of a propagation, forward and back.

A step is a row of flows, with kicks between them where there is something to kick (`splitting.py`):

    [kick] flow [kick] flow ... flow [kick]

Each part knows how to undo itself and how to pull a cotangent g back, dL = Re Σ g dψ (`cayley_flow.py`,
`split_operator.py`): all of them are symmetric, so ψ* and g, a pair on the way back (`flow.pair`), take the parts that
took ψ there.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum.schrodinger.cayley_flow import CayleyFlow
from jaxnum.schrodinger.split_operator import FourierFlow
from jaxnum.schrodinger.splitting import Kick


@dataclass(frozen=True)
class Step:
    """One step, compared by value; its parameters are those of the flow and those of the kick.

    It acts on what `enter` makes of a wave function.

    Attributes:
        flow: What acts at the places of `flow.sequence`.
        kick: What acts before, between and after them, or None.
    """

    flow: CayleyFlow | FourierFlow
    kick: Kick | None

    @property
    def linear(self) -> bool:
        """Whether a step is a matrix; it is then symmetric, as all parts are, and mirrored in their order."""
        return self.kick is None or not self.kick.nonlinear

    def enter(self, psi: Array, _prepared: Any = None) -> Array:
        """Return the state of a wave function at the free points."""
        return self.flow.enter(psi)

    def leave(self, state: Array) -> Array:
        """Return the wave function at the free points."""
        return self.flow.leave(state)

    def prepare(self, parameters: tuple) -> tuple:
        """Return what every step needs."""
        flow, kick = parameters
        return self.flow.prepare(flow), None if self.kick is None else self.kick.prepare(kick, self.flow.enter)

    def prepare_differentiable(self, parameters: tuple) -> tuple:
        """Return what every step of `differentiable` needs."""
        flow, kick = parameters
        return self.flow.prepare(flow), None if self.kick is None else self.kick.prepare(kick, _as_it_is)

    def __call__(self, state: Array, prepared: tuple, n: Any) -> Array:
        """Take step n, without derivatives."""
        return self._walked(self.flow.forward, self.flow.enter, state, prepared, n)

    def differentiable(self, psi: Array, prepared: tuple, n: Any) -> Array:
        """Take step n from one wave function at the free points to the next, in a form that JAX differentiates."""
        return self._walked(self.flow.differentiable, _as_it_is, psi, prepared, n)

    def start_differentiable(self, psi: Array, _prepared: tuple) -> Array:
        """Return the state that `differentiable` begins with."""
        return psi

    def home(self, conjugate: Array, prepared: tuple, n: Any) -> Array:
        """Undo step n: return ψ* before it, given that after it, which goes back by the parts that took ψ there."""
        return self._walked(self.flow.forward, self.flow.enter, conjugate, prepared, n, home=True)

    def _walked(self, forward, enter, psi, prepared, n, home=False):
        flow = self.flow.at(prepared[0], n)
        if self.kick is None:
            if len(self.flow.sequence) == 1:
                return forward(flow, 0, psi)
            return jax.lax.scan(lambda psi, e: (forward(flow, e, psi), None), psi, self._places()[0], reverse=home)[0]
        kick = self.kick.at(prepared[1], n, enter)

        def place(psi, at):
            e, later = at
            if home:
                return forward(flow, e, self.kick.forward(kick, later, psi)), None
            return self.kick.forward(kick, later, forward(flow, e, psi)), None

        if home:
            psi = jax.lax.scan(place, psi, self._places(), reverse=True)[0]
            return self.kick.forward(kick, 0, psi)
        return jax.lax.scan(place, self.kick.forward(kick, 0, psi), self._places())[0]

    def no_gradient(self, prepared: tuple, parameters: tuple, psi: Array) -> tuple:
        """Return a gradient of nothing, to be added to by `back`."""
        flow = self.flow.no_slope(prepared[0], psi) if self.flow.constant else _zeros(parameters[0])
        if self.kick is None:
            return flow, None
        return flow, self.kick.no_slope(psi, self._kicks) if self.kick.constant else _zeros(parameters[1])

    def back(
        self, pair: Any, gradient: tuple, prepared: tuple, parameters: tuple, n: Any, motion: bool
    ) -> tuple[Any, tuple]:
        """Undo step n: return the pair before it, given that after it, and the gradient with its part.

        Args:
            pair: What `flow.pair` makes of ψ* and g after the step.
            gradient: That of the steps after it.
            prepared: What `prepare` returned.
            parameters: Those of the step.
            n: Number of the step.
            motion: Whether anybody differentiates by the motion of the flow (`flow.asked`).
        """
        flow = self.flow.at(prepared[0], n)
        slope = gradient[0] if self.flow.constant else self.flow.no_slope(flow, pair[0])
        if self.kick is None:

            def place(carry, e):
                return self.flow.back(flow, e, *carry, motion), None

            if len(self.flow.sequence) == 1:
                pair, slope = self.flow.back(flow, 0, pair, slope, motion)
            else:
                (pair, slope), _ = jax.lax.scan(place, (pair, slope), self._places()[0], reverse=True)
            return pair, (self._pulled(slope, gradient[0], parameters[0], n), None)
        kick = self.kick.at(prepared[1], n, self.flow.enter)
        turns = gradient[1] if self.kick.constant else self.kick.no_slope(pair[0], self._kicks)

        def place(carry, at):
            pair, slope, turns = carry
            e, later = at
            pair, turns = self.kick.back(kick, later, pair, turns)
            return (*self.flow.back(flow, e, pair, slope, motion), turns), None

        (pair, slope, turns), _ = jax.lax.scan(place, (pair, slope, turns), self._places(), reverse=True)
        pair, turns = self.kick.back(kick, 0, pair, turns)
        if not self.kick.constant:
            turns = jax.tree.map(jnp.add, gradient[1], self._kicked(turns, parameters[1], n))
        return pair, (self._pulled(slope, gradient[0], parameters[0], n), turns)

    def gradient(self, gradient: tuple, parameters: tuple) -> tuple:
        """Return the cotangent of the parameters."""
        flow, kick = gradient
        if self.flow.constant:
            pieces, pull = jax.vjp(lambda p: self.flow.pieces(p, 0), parameters[0])
            (flow,) = pull(self.flow.gradient(flow, pieces))
        if self.kick is not None and self.kick.constant:
            kick = self._kicked(kick, parameters[1], 0)
        return flow, kick

    @property
    def _kicks(self) -> int:
        return len(self.flow.sequence) + 1

    def _kicked(self, turns, parameters, n):
        """Return the cotangent of a kick's parameters, given those of its phases."""
        theta, gamma = turns
        _, pull = jax.vjp(lambda p: self.kick.phases(p, n), parameters)
        return pull((self.flow.leave(theta), gamma))[0]

    def _pulled(self, slope, gradient, parameters, n):
        """Return the gradient so far: of a moving flow in its parameters, of a constant one as it is kept."""
        if self.flow.constant:
            return slope
        pieces, pull = jax.vjp(lambda p: self.flow.pieces(p, n), parameters)
        return jax.tree.map(jnp.add, gradient, *pull(self.flow.gradient(slope, pieces)))

    def _places(self) -> tuple[Array, Array]:
        """Return, for every flow of the step, which one it is and the kick that follows it."""
        sequence = np.array(self.flow.sequence, np.int32)
        return jnp.asarray(sequence), jnp.asarray(1 + np.arange(len(sequence), dtype=np.int32))


def _as_it_is(x: Array) -> Array:
    return x


def _zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)


@dataclass(frozen=True)
class Leave:
    """Record the wave function of a state."""

    step: Any

    def __call__(self, state: Any, _prepared: Any) -> Array:
        """Return it at the free points."""
        return self.step.leave(state)
