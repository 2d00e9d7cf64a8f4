"""Progress of long work, shown on the host between jitted chunks: no callback ever enters compiled code."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = bool | Callable[[int, int], None]
"""False: silent. True: a bar in the terminal, lines in a log. A function: `progress(done, total)` after every chunk."""


@contextmanager
def track(progress: Progress, total: int, label: str) -> Iterator[Callable[[int], None]]:
    """Yield a function to be called with the number of steps done; the bar is closed whatever happens."""
    if callable(progress):
        yield lambda done: progress(done, total)
        return
    if not progress:
        yield lambda _done: None
        return
    # Imported on use: a machine that only computes needs no terminal library.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    rate, console = pace(), Console(stderr=True)
    if not console.is_terminal:  # the log of a batch job: a line for every tenth
        said = [-1]

        def say(done: int) -> None:
            tenth, speed = 10 * done // max(total, 1), rate(done)
            if tenth > said[0]:
                said[0] = tenth
                print(f"{label}: {done} of {total}" + (f", {speed}" if speed else ""), file=sys.stderr, flush=True)

        yield say
        return
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total, rate="")
        yield lambda done: bar.update(task, completed=done, rate=rate(done))


def pace(clock: Callable[[], float] = time.perf_counter) -> Callable[[int], str]:
    """Return a function from the count done so far to the rate since its first call, as text.

    What was done before that call, by an earlier process, does not count. The seconds until the second call hold the
    compilation, so they count only while there is nothing else.
    """
    marks: list[tuple[float, int]] = []

    def rate(done: int) -> str:
        if len(marks) < 2 or done > marks[-1][1]:
            marks.append((clock(), done))
            del marks[2:-1]  # the first, the second and the last say it all
        first = marks[1] if len(marks) > 2 else marks[0]
        seconds, count = marks[-1][0] - first[0], marks[-1][1] - first[1]
        return f"{count / seconds:.3g}/s" if seconds > 0 and count > 0 else ""

    return rate
