"""What glibc does with memory that was freed: long trainings on processors neither clear pages anew nor grow."""

import ctypes
import sys

from fastai.callback.core import Callback


def keep_freed_memory():
    """Tell glibc to use large arrays' memory again instead of giving it back to the system, which clears each page
    anew: up to a fifth of a training step on a processor. Elsewhere (macOS, musl) nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mmap_threshold, trim_threshold = -3, -1  # malloc.h
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)


class ReturnMemory(Callback):
    """Give free pages back after each epoch: glibc's heap keeps them, and a long training grew by 100 MB an epoch."""

    order = 99

    def after_epoch(self):
        if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
            ctypes.CDLL(None).malloc_trim(0)
