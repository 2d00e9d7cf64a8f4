"""Kill sweeps at random moments while they write, and see what is left.

python tests/ensemble/kill_sweep.py 200

Each trial begins a sweep in a new folder, kills it with SIGKILL at any moment, every other time after its first chunk,
reads every chunk that is there, lets another process finish (every other time on two devices), and compares the result
bit for bit with a sweep that was left alone. Prints trials, chunks found after the kills, and kills amid a write.
"""

import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxnum
from jaxnum import _folder, ensemble

NUM, CHUNK, LONG = 32, 2, 100_000


def fn(p):
    # 800 kB for each member, so that a chunk spends most of its time on its way to the disk.
    return {"wave": jnp.sin(p["a"] + p["b"] * jnp.arange(LONG) / LONG), "a": p["a"]}


def sweep(directory, num_devices=1):
    jax.config.update("jax_num_cpu_devices", num_devices)
    jax.config.update("jax_enable_x64", True)
    axes = ensemble.grid(a=np.linspace(0.0, 1.0, NUM // 4), b=np.linspace(1.0, 2.0, 4))
    ensemble.sweep(fn, axes, chunk_size=CHUNK, directory=directory)


def fork(directory, num_devices=1):
    """Start a sweep in a process of its own. Importing jaxnum starts no backend, so there are no threads to lose."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        sweep(directory, num_devices)
        code = 0
    finally:
        os._exit(code)


def wait(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "a sweep that was not killed failed"


def wait_for(folder, pattern):
    while not any(folder.glob(pattern)):
        time.sleep(0.001)


def arrays(directory):
    solution = jaxnum.load(directory)
    return {**solution.value, "status": np.asarray(solution.status.code), **solution.history["parameters"]}


def main(trials=200):
    chance = random.Random(0)
    found = midst = 0
    with tempfile.TemporaryDirectory() as work:
        whole = Path(work) / "whole"
        child = fork(whole)
        wait_for(whole, "manifest.json")
        start = time.perf_counter()
        wait(child)
        pace, truth = time.perf_counter() - start, arrays(whole)
        for trial in range(trials):
            folder = Path(work) / f"trial{trial}"
            child = fork(folder)
            wait_for(folder, "chunk-*.npz" if trial % 2 else "manifest.json")
            time.sleep(chance.uniform(0.0, pace))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            midst += any(p.name.endswith(".partial") for p in folder.iterdir())
            left = _folder.look(folder)
            before = {i: left.read(*i) for i in left.intervals()}  # a corrupt chunk raises here
            found += len(before)
            wait(fork(folder, 1 + trial % 2))
            for interval, then in before.items():  # nothing that was there is lost or written again
                now = left.read(*interval)
                assert all(np.array_equal(now[k], then[k]) for k in then)
            end = arrays(folder)
            assert end.keys() == truth.keys()
            assert all(end[k].tobytes() == truth[k].tobytes() for k in truth), "resumed, but not the same bits"
            assert not [p for p in folder.iterdir() if p.name.endswith(".partial")]
            for path in folder.iterdir():
                path.unlink()
    print(trials, found, midst)


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # JAX warns of every fork
    main(*map(int, sys.argv[1:]))
