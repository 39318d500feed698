"""SSLHF: what the three transformations cost, and how fast a restoration step is, in one run.

    python benchmarks/restoration.py [--threads 2] [--rounds 5] [--width 8]

transform_share: all three transformations of one patch as a share of the training step that it feeds (one patch,
bf16). transform_speedup: against the same drawn in plain numpy loops over windows, rectangles and frames.
restoration_speedup: a training step of four patches of 96×96×20 in bf16, channels last, fused Adam, against plain fp32
eager. Medians of interleaved rounds.
"""

import argparse
import time

import numpy as np
import torch

from cmrlib.learning.norms import quicken_batch_norm
from cmrlib.learning.training import set_threads_and_seed
from cmrlib.papers.sslhf import KINDS, Design, Restorer, Transformations


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=8)
    arguments = parser.parse_args()
    set_threads_and_seed(0, arguments.threads)
    found = transform_share(arguments) | restoration_speedup(arguments)
    print(" ".join(f"{name}={value:.3f}" for name, value in found.items()))


def transform_share(arguments) -> dict:
    """transform_share and transform_speedup, of one patch of the paper's size."""
    width, clip = getattr(arguments, "width", 8), _clips(1, 40, 288)
    task = Transformations()
    fast, slow = medians(lambda: task(clip[0], KINDS), lambda: naive(clip[0], task), rounds=3)
    (step,) = medians(training_step(Design(width, 40), clip, True), rounds=max(1, arguments.rounds // 3))
    print(
        f"288×288×40, width {width}: transformations {fast:.3f} s a patch (naive {slow:.2f} s), its training step "
        f"{step:.2f} s; {torch.get_num_threads()} threads",
        flush=True,
    )
    return {"transform_share": fast / step, "transform_speedup": slow / fast}


def restoration_speedup(arguments) -> dict:
    """A restoration step, plain over ours."""
    width, clips = getattr(arguments, "width", 8), _clips(4, 20, 96)
    quick, plain = medians(
        *(training_step(Design(width, 20), clips, way) for way in (True, False)), rounds=arguments.rounds
    )
    print(f"four patches of 96×96×20, width {width}: {quick:.2f} s, plain fp32 {plain:.2f} s", flush=True)
    return {"restoration_speedup": plain / quick}


def _clips(n, frames, size):
    return np.random.default_rng(0).normal(size=(n, frames, size, size)).astype(np.float32)


def medians(*ways, rounds: int) -> list[float]:
    """Median seconds of each way, rounds interleaved, the first one not counted."""
    taken = [[] for _ in ways]
    for n in range(rounds + 1):
        for way, values in zip(ways, taken):
            start = time.perf_counter()
            way()
            values += [time.perf_counter() - start] if n else []
    return [float(np.median(values)) for values in taken]


def training_step(design: Design, clips, fast: bool):
    """A function that does one step of stage one: as `training.fit` does it, or plain."""
    model, clips = Restorer(design), torch.from_numpy(clips)
    if fast:
        quicken_batch_norm(model.to(memory_format=torch.channels_last))
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=fast)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            restored = model(clips)
        torch.nn.functional.mse_loss(restored.float(), clips).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def naive(clip, task: Transformations, rng=None) -> np.ndarray:
    """The three transformations as one would write them first: numpy, a window, a rectangle, a frame at a time."""
    rng, clip = rng or np.random.default_rng(0), clip.copy()
    frames, rows, columns = clip.shape
    count = round(task.windows * rows * columns / ((2 + task.window_px) / 2) ** 2)
    for frame in clip:
        for _ in range(count):
            height, width = rng.integers(2, task.window_px + 1, 2)
            r, c = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
            window = frame[r : r + height, c : c + width]
            frame[r : r + height, c : c + width] = window[rng.permutation(height)][:, rng.permutation(width)]
        for _ in range(rng.integers(1, task.covered + 1)):
            height = int(rng.integers(rows // 5, rows // 3))
            width = int(rng.uniform(1 / 36, 1 / 9) * rows * columns / height)
            r, c = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
            frame[r : r + height, c : c + width] = rng.uniform(-(3**0.5), 3**0.5, (height, width))
    for start in rng.choice(frames - task.length, task.groups, replace=False):
        length = rng.integers(1, task.length + 1)
        clip[start : start + length] = rng.uniform(-(3**0.5), 3**0.5, (length, rows, columns))
    return clip


if __name__ == "__main__":
    main()
