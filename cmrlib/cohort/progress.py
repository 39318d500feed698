"""How far long work has come: a bar in a terminal, a line now and then in a notebook, a log or a job of a cluster."""

import sys
import time

from tqdm import tqdm

EVERY_S = 20.0
"""Seconds between lines; work that is done sooner stays silent."""


def with_progress(items, what: str, unit: str, total: int | None = None, initial: int = 0, leave: bool = True):
    """Yield `items` and say on stderr how many are done and how long the others will take.

    unit: what one item is, singular. total: default the length of items. initial: how many were done before. leave:
    whether a terminal keeps the bar.
    """
    total = len(items) if total is None else total
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, unit=unit, total=total, initial=initial, leave=leave)
        return
    start = said = time.monotonic()
    for count, item in enumerate(items, initial + 1):
        yield item
        now = time.monotonic()
        if now - said >= EVERY_S and count < total:
            left = (now - start) / (count - initial) * (total - count)
            print(f"{what}: {count} of {total} {unit}s · {left / 60:.1f} min left", file=sys.stderr, flush=True)
            said = now
