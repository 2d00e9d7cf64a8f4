"""Weak and strong scaling of a sweep over virtual devices and processes, and what a million runs cost.

Strong: the same members on more devices; efficiency is t(1) / (k t(k)). Weak: k times the members on k devices;
efficiency is t(1) / t(k). Compilation is not counted: the second of two sweeps is timed. Virtual devices share the
cores there are, so nothing can scale beyond their number; with more devices than cores the figure shows what the
machinery costs. A process is a Python of its own, and results are gathered through loopback.

python benchmarks/scaling.py                   scaling on this machine
python benchmarks/scaling.py --cost FILE.json  what 10^6 runs cost at the rates that `gpu.py --json FILE.json` measured
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
from families import WORKLOADS

import jaxnum
from jaxnum import ensemble

MEMBERS = {"propagate": 512, "minimize": 1 << 17, "coupled": 64}  # a second of work or so on one core
LINK = 1.25e9  # bytes per second between hosts: ten-gigabit Ethernet, the slowest that clusters have
RUNS = 10**6


def worker(name, num, rank, count, port):
    """Time the second of two sweeps; the first compiles."""
    if hasattr(os, "sched_setaffinity"):
        # As many cores as devices, or a single device would use all there are and nothing could be learned.
        share = int(os.environ["JAX_NUM_CPU_DEVICES"])
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[(rank * share + i) % len(cores)] for i in range(share)})
    if count > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=count, process_id=rank)
    jaxnum.enable_x64()
    work = WORKLOADS[name]
    given = work.parameters(num, np.float64)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        ensemble.sweep(work.fn, given, chunk_size=num)
        seconds.append(time.perf_counter() - start)
    if rank == 0:
        print(min(seconds[1:]))


def measure(name, num, num_devices, num_processes):
    """Return the seconds of a sweep on some devices in each of some processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(num_devices)}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--worker", name, str(num), str(rank), str(num_processes), str(port)],
            env=env,
            text=True,
            stdout=subprocess.PIPE,
        )
        for rank in range(num_processes)
    ]
    said = [p.communicate()[0] for p in processes]
    return float(said[0].split()[-1])


def scaling():
    print(f"{os.cpu_count()} cores, JAX {jax.__version__}; seconds of a warm sweep, float64")
    print(f"{'workload':<10} {'members':>8} {'processes':>9} {'devices':>7} {'seconds':>8} {'strong':>7} {'weak':>6}")
    for name, num in MEMBERS.items():
        alone = None
        for num_processes, num_devices in ((1, 1), (1, 2), (1, 4), (2, 1)):
            many = num_processes * num_devices
            strong = measure(name, num, num_devices, num_processes)
            weak = measure(name, num * many, num_devices, num_processes) if many > 1 else strong
            alone = alone or strong
            print(
                f"{name:<10} {num:>8} {num_processes:>9} {num_devices:>7} {strong:8.3f} "
                f"{alone / (many * strong):7.2f} {alone / weak:6.2f}",
                flush=True,
            )


def cost(file):
    """Print, as Markdown, what a million runs of each family cost on 8 and 1024 devices of the measured kind."""
    measured = json.loads(Path(file).read_text(encoding="utf-8"))
    print(f"Rates of {measured['device']}, {measured['date']}, JAX {measured['jax']}.\n")
    print("| family | a run | dtype | runs/s, one device | bytes back | 8 devices | 1024 devices | of it gathering |")
    print("| --- | --- | --- | --: | --: | --: | --: | --: |")
    for name, by_dtype in measured["families"].items():
        for dtype, row in by_dtype.items():
            back = RUNS * row["bytes_each"]
            gathering = back / LINK
            times = [RUNS / (row["members_per_s"] * k) + gathering for k in (8, 1024)]
            print(
                f"| {name} | {row['what']} | {dtype} | {row['members_per_s']:.3g} | {back / 1e6:.3g} MB "
                f"| {span(times[0])} | {span(times[1])} | {span(gathering)} |"
            )


def span(seconds):
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{1000 * seconds:.3g} ms"


def main():
    if "--worker" in sys.argv:
        name, *numbers = sys.argv[sys.argv.index("--worker") + 1 :]
        worker(name, *map(int, numbers))
    elif "--cost" in sys.argv:
        cost(sys.argv[sys.argv.index("--cost") + 1])
    else:
        scaling()


if __name__ == "__main__":
    main()
