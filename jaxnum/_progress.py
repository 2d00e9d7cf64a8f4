"""Progress of long work, shown on the host between jitted chunks: no callback ever enters compiled code."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = bool | Callable[[int, int], None]
"""False: silent. True: a bar in the terminal. A function: called as `progress(done, total)` after every chunk."""


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
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)
