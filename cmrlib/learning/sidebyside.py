"""Trainings side by side, each in a process of its own: small networks gain little from a second processor thread, and
two of them at once everything."""

import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from threading import Thread

import torch

from cmrlib.datasets.ingestion import end_with_parent
from cmrlib.learning.training import set_threads_and_seed


def side_by_side(jobs, processes: int):
    """Call every job, a functools.partial, `processes` at a time, with this process's processor threads shared out
    among them; what they return is dropped.

    For trainings that leave a checkpoint: who asks for one afterwards finds it. They print where this process prints.
    Does nothing where fewer than two would run at once or on a GPU: who asks then trains. Raises the first
    error of a job and ends the others, which go on from their checkpoints the next time.
    """
    processes = min(processes, len(jobs), torch.get_num_threads())
    if processes < 2 or torch.cuda.is_available():
        return
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, *sorted({job.func.__module__ for job in jobs})])  # imported once
    stop, threads = context.Event(), torch.get_num_threads() // processes
    with ProcessPoolExecutor(processes, context, _begin, (stop, threads)) as pool:
        try:
            for one in as_completed([pool.submit(_call, job) for job in jobs]):
                one.result()
        except BrokenProcessPool:
            raise MemoryError(
                f"the system ended one of {processes} trainings side by side, most likely for want of "
                "memory: set `workers` to 1 and start again; they go on from their checkpoints"
            ) from None
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(stop, threads):
    """A process's first act: its share of the threads, and no life beyond that of its parent."""
    end_with_parent()
    Thread(target=lambda: stop.wait() and os._exit(1), daemon=True).start()
    set_threads_and_seed(0, threads)


def _call(job):
    job()
