"""One stopwatch for all benchmarks: compilation apart from running, and every result waited for."""

import math
import time
from typing import NamedTuple

import jax


class Timing(NamedTuple):
    """Seconds of the first call (trace, compile, run) and of the fastest later one."""

    first: float
    best: float


def stopwatch(fn, *args, repeats=5, budget=math.inf):
    """Time `fn(*args)` once, and then `repeats` times or until `budget` seconds are over, at least once."""

    def once():
        start = time.perf_counter()
        jax.block_until_ready(fn(*args))
        return time.perf_counter() - start

    first, end = once(), time.perf_counter() + budget
    times = [once()]
    while len(times) < repeats and time.perf_counter() < end:
        times.append(once())
    return Timing(first, min(times))
