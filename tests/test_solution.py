import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import jaxnum
from jaxnum import History, Solution, SolveError, Status, StoreError


def solution(status=Status.ok, value=None, residual=2e-9):
    value = jnp.arange(3.0) if value is None else value
    return Solution(value, History(t=jnp.zeros(4), norm=jnp.ones((4, 2))), residual, 7, status)


def test_prints_what_matters():
    text = repr(solution())
    assert text == "Solution(ok, value=float64[3], residual=2e-09, num_steps=7, history=t, norm)"
    assert repr(solution(value={"a": 1.0, "b": jnp.ones(2)})).startswith("Solution(ok, value=dict of 2 arrays")


def test_html_is_escaped_and_complete():
    page = Solution(1.0, History(**{"<b>": jnp.ones(2)}), 0.5, 1, Status.max_steps)._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    for word in ("max_steps", "0.5", "allow more steps", "<table>"):
        assert word in page


def test_unwrap_gives_the_value_or_one_line_with_cause_and_cure():
    assert_array_equal(solution().unwrap(), [0, 1, 2])
    with pytest.raises(SolveError) as failure:
        solution(Status.diverged).unwrap()
    text = str(failure.value)
    assert text.startswith("diverged: the iterates grew")
    assert "take a smaller step" in text
    assert "residual 2e-09, 7 steps" in text
    assert "\n" not in text


def test_a_batch_is_ok_when_every_member_is():
    def solve(x):
        return Solution(x, History(), jnp.abs(x), 3, Status.first((x > 1, Status.diverged)))

    good, bad = jax.vmap(solve)(jnp.asarray([0.1, 0.2])), jax.vmap(solve)(jnp.asarray([0.1, 2.0]))
    assert good.ok
    assert not bad.ok
    with pytest.raises(SolveError, match=r"ok: 1, diverged: 1: .* \(residual 2, 3 steps\)"):
        bad.unwrap()
    assert "diverged: 1" in repr(bad)
    assert "diverged: 1" in bad._repr_html_()


def test_survives_every_transformation():
    def solve(x):
        return Solution(x**2, History(t=x), x, 1, Status.first((x < 0, Status.nonfinite)))

    assert jax.jit(solve)(3.0).unwrap() == 9
    assert jax.grad(lambda x: solve(x).value)(3.0) == 6
    assert jax.jvp(lambda x: solve(x).history.t, (3.0,), (2.0,))[1] == 2
    assert jax.tree.map(lambda x: x, solution()).history.norm.shape == (4, 2)
    seen = []
    jax.jit(lambda x: seen.append(repr(solve(x))) or x)(1.0)
    assert seen[0].startswith("Solution(traced, value=float64[]")


def test_history_is_named_frozen_rows():
    history = History(t=1, norm=2)
    assert (history.t, history["norm"], list(history), len(history)) == (1, 2, ["t", "norm"], 2)
    assert "t" in history
    assert "x" not in history
    assert dict(history.items()) == {"t": 1, "norm": 2}
    assert list(history.keys()) == ["t", "norm"]
    with pytest.raises(AttributeError, match="this history has t, norm; not `energy`"):
        _ = history.energy
    with pytest.raises(AttributeError, match="frozen"):
        history.t = 3
    assert dict(pickle.loads(pickle.dumps(history)).items()) == {"t": 1, "norm": 2}
    assert jax.tree_util.keystr(jax.tree_util.tree_leaves_with_path(history)[1][0]) == "['norm']"
    assert "t=int[]" in repr(history)


def test_saved_and_loaded_is_the_same(tmp_path):
    value = {"w": jnp.ones((2, 3)), "layers": [jnp.zeros(1), (np.float32(2), 1 + 2j)], "none": None}
    before = solution(Status.max_steps, value)
    after = jaxnum.load(before.save(tmp_path / "run.npz", configuration={"dt": 0.1}))
    assert after.status == before.status
    assert (after.residual, after.num_steps) == (before.residual, 7)
    assert_array_equal(after.history.norm, before.history.norm)
    assert_array_equal(after.value["w"], value["w"])
    assert after.value["layers"][1] == [2, 1 + 2j]
    assert after.value["none"] is None
    meta = jaxnum.load_metadata(tmp_path / "run.npz")
    assert meta["configuration"] == {"dt": 0.1}
    assert {"jax", "numpy", "jaxnum", "python"} <= set(meta["versions"])
    assert "cpu" in meta["device"] or "gpu" in meta["device"]
    with pytest.raises(SolveError):
        after.unwrap()


def test_what_is_no_array_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"Argument `value` must be an array to be saved, but is str"):
        solution(value="words").save(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="`configuration`"):
        solution().save(tmp_path / "run.npz", configuration={"x": object()})
    with pytest.raises(ValueError, match="`configuration`"):
        solution().save(tmp_path / "run.npz", configuration={"x": np.nan})
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        jaxnum.load(tmp_path / "none.npz")
    np.savez(tmp_path / "plain.npz", a=np.ones(3))
    with pytest.raises(StoreError):
        jaxnum.load(tmp_path / "plain.npz")
