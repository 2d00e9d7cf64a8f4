import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum import Status
from jaxnum._status import _OUTCOMES


def judge(x):
    return Status.first((~jnp.isfinite(x), Status.nonfinite), (x > 1, Status.diverged), (x < 0, Status.max_steps))


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_the_first_true_condition_decides(transform):
    for x, name in [(0.5, "ok"), (2.0, "diverged"), (-1.0, "max_steps"), (np.nan, "nonfinite"), (np.inf, "nonfinite")]:
        status = transform(judge)(jnp.asarray(x))
        assert status == getattr(Status, name), (x, status)
        assert status == name
        assert str(status) == name
        assert repr(status) == f"Status({name})"
        assert hash(status) == hash(getattr(Status, name))


def test_a_batch_prints_how_many_ended_in_each_way():
    status = jax.jit(jax.vmap(judge))(jnp.asarray([0.5, 2.0, 0.1, np.nan, 0.2]))
    assert str(status) == "ok: 3, diverged: 1, nonfinite: 1"
    assert status != Status.ok
    assert "NaN" in status.message  # of the worst member
    assert jax.vmap(judge)(jnp.full(3, 0.5)) == Status.ok
    assert str(jax.vmap(judge)(jnp.full(3, 0.5))) == "ok: 3"


def test_travels_through_scan_and_tree_map():
    def body(worst, x):
        return Status(jnp.maximum(worst.code, judge(x).code)), judge(x)

    worst, each = jax.lax.scan(body, Status(jnp.int32(0)), jnp.asarray([0.5, np.nan, 2.0]))
    assert worst == Status.nonfinite
    assert [str(Status(c)) for c in each.code] == ["ok", "nonfinite", "diverged"]
    assert isinstance(jax.tree.map(lambda leaf: leaf, each), Status)


def test_a_traced_status_says_so():
    jax.jit(lambda x: (_ for _ in ()).throw(AssertionError) if repr(judge(x)) != "Status(traced)" else x)(1.0)


def test_every_outcome_has_a_name_a_cause_and_a_cure():
    for code, (name, (cause, cure)) in enumerate(_OUTCOMES.items()):
        status = getattr(Status, name)
        assert status == Status(code)
        assert (status.name, status.message) == (name, f"{cause}; {cure}")
        assert cause
        assert cure
    assert len({hash(getattr(Status, name)) for name in _OUTCOMES}) == len(_OUTCOMES)


def test_compares_with_nothing_else():
    assert Status.ok != 0
    assert Status.ok != "okay"
    assert Status.ok is not None


def test_is_frozen():
    with pytest.raises(AttributeError):
        Status.ok.code = 3
