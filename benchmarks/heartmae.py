"""Pretraining steps, clips, flow maps and features a second, against plain implementations in the same run.

    python benchmarks/heartmae.py [--threads 2] [--rounds 5] [--clips 1] [--steps 50] [--small]

ViT-B, clips of 24×224×224, 90 % hidden, as the paper has them. One step is forward, backward and AdamW on `clips`
clips. Ours: bf16, fused AdamW, attention a few heads at a time, no work on tokens that nobody asks for. vs_masked_fp32:
against the same network as it is usually written (`plain_mae.py`), fp32, torch's plain AdamW; vs_dense_fp32: against
that with an encoder that sees all tokens. half_vs_masked_fp32, half_loss_change: ours where a step restores half of the
hidden tokens (parameter asked_share), which is another estimate of the same loss.
Rounds are interleaved, medians taken. loss_change: largest relative difference of the losses of both over `steps` steps
from the same weights on the same clips and masks; at 4 layers and 24×64×64 unless --full-loss.
Where there is a GPU: the step compiled, against fp32 eager, and its share of the card's peak (--peak-tflops).
--small: seconds in place of minutes, to see whether it runs.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from plain_mae import PlainMAE

from cmrlib.cohort.splits import split_subjects
from cmrlib.learning.training import set_threads_and_seed
from cmrlib.papers.heartmae import Design, Embedder, MaskedAutoencoder, Preprocessing, flow_shards, section_table
from cmrlib.papers.heartmae.clips import random_cut, stored_scale
from cmrlib.papers.heartmae.flow import flow_weights
from cmrlib.papers.heartmae.masking import Masking
from cmrlib.phantom import make_cohort

SMALL = Design(size=64, frames=24, width=192, depth=4, heads=3, decoder_width=128, decoder_depth=2, decoder_heads=4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=1, help="of a step")
    parser.add_argument("--steps", type=int, default=50, help="over which losses are compared")
    parser.add_argument("--full-loss", action="store_true", help="compare losses at ViT-B, too: minutes")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of the GPU in bf16 (H100 SXM)")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    set_threads_and_seed(0, given.threads)
    design = SMALL if given.small else Design()
    found = step_seconds(design, given.rounds, given.clips)
    for name, asked in (("loss_change", 1.0), ("half_loss_change", 0.5)):
        found |= {name: loss_change(design if given.full_loss else SMALL, given.steps, 2, asked)}
    with tempfile.TemporaryDirectory() as folder:
        cohort = make_cohort(
            Path(folder) / "c",
            2,
            frames=50,
            size=208 if not given.small else 96,
            spacing_mm=1.8 if not given.small else 3.6,
            slices=4,
            workers=1,
            progress=False,
        )
        found |= data_rates(cohort, design, Path(folder), given.threads)
    if torch.cuda.is_available():
        found |= gpu_step(design, given.peak_tflops)
    print(" ".join(f"{name}={value:.4g}" for name, value in found.items()))


def batch(design, clips, seed=0):
    """(stored clips, maxima, token orders): smooth moving blobs, so that there is something to restore."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(clips, 1, design.frames // 4, design.size // 16, design.size // 16, generator=rng)
    shape = (design.frames, design.size, design.size)
    smooth = torch.nn.functional.interpolate(coarse, shape, mode="trilinear", align_corners=False)[:, 0]
    steps, rows, columns = design.grid
    ids = torch.rand(clips, steps * rows * columns, generator=rng).argsort(1)
    return (400 * smooth).to(torch.int16), torch.full((clips,), 400.0), ids


def fast_step(model, precision=torch.bfloat16):
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)

    def step(clips, peaks, ids):
        with torch.autocast(clips.device.type, precision, enabled=precision == torch.bfloat16):
            loss = model(clips[:, None], peaks, None, ids).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return float(loss.detach())

    return step


def plain_step(model):
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)

    def step(clips, peaks, ids):
        loss = model(clips, peaks, ids).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return float(loss.detach())

    return step


def step_seconds(design, rounds, clips) -> dict:
    """Medians of interleaved steps of ours, plain masked fp32 and plain dense fp32."""
    model, half = (MaskedAutoencoder(design, Masking(asked=asked), 0.5, 0.2) for asked in (1.0, 0.5))
    ways = {
        "fast": fast_step(model),
        "half": fast_step(half),
        "masked": plain_step(PlainMAE(model)),
        "dense": plain_step(PlainMAE(model, True)),
    }
    data, taken = batch(design, clips), {name: [] for name in ways}
    for n in range(rounds + 1):  # the first warms up
        for name in list(ways)[:: 1 if n % 2 else -1]:
            start = time.perf_counter()
            ways[name](*data)
            taken[name] += [time.perf_counter() - start] if n else []
    seconds = {name: float(np.median(values)) for name, values in taken.items()}
    print(
        f"{clips} clip(s) of {design.frames}×{design.size}×{design.size}, width {design.width}, "
        f"{torch.get_num_threads()} threads, median of {rounds} interleaved: ours {seconds['fast']:.3f} s, "
        f"restoring half {seconds['half']:.3f} s, plain "
        f"masked fp32 {seconds['masked']:.3f} s, plain dense fp32 {seconds['dense']:.3f} s; ratios of single rounds "
        + ", ".join(f"{b / a:.2f}" for a, b in zip(taken["fast"], taken["masked"])),
        flush=True,
    )
    return {
        "vs_masked_fp32": seconds["masked"] / seconds["fast"],
        "vs_dense_fp32": seconds["dense"] / seconds["fast"],
        "half_vs_masked_fp32": seconds["masked"] / seconds["half"],
        "seconds_per_step": seconds["fast"],
    }


def loss_change(design, steps, clips, asked=1.0) -> float:
    """Largest relative difference of both losses over a training from the same start."""
    torch.manual_seed(1)
    model = MaskedAutoencoder(design, Masking(asked=asked), 0.5, 0.2)
    slow, fast = plain_step(PlainMAE(model)), fast_step(model)
    pairs = [(fast(*data), slow(*data)) for data in (batch(design, clips, seed) for seed in range(steps))]
    change = max(abs(a - b) / b for a, b in pairs)
    print(
        f"loss over {steps} steps: ours {pairs[0][0]:.4f} → {pairs[-1][0]:.4f}, plain {pairs[0][1]:.4f} → "
        f"{pairs[-1][1]:.4f}, largest difference {100 * change:.2f} %",
        flush=True,
    )
    return change


def data_rates(cohort, design, folder, threads) -> dict:
    """Clips, flow maps and features a second; flow on one and on two processes."""
    sections = section_table(
        cohort, split_subjects(cohort.subjects.assign(group="a"), folds=2, validation_per_group=0), sax_share=1.0
    )
    preprocessing = Preprocessing(design.size, design.frames, design.size, design.size * 256 // 224)
    cine = cohort.cine(sections["cine"].iloc[0])
    factor, _ = stored_scale(cine)
    cut = lambda: random_cut(cine, preprocessing).clip(cine.pixels[:, 0], preprocessing, factor)  # noqa: E731
    embedder = Embedder(MaskedAutoencoder(design), preprocessing)
    rates = {
        "clips_per_s": rate(cut),
        "flow_maps_per_s": rate(lambda: flow_weights(cine.pixels[:, 0])),
        "features_per_s": rate(lambda: embedder.embed(cine, 0), 1.0) * len(embedder.clips(cine, 0)[0]),
    }
    taken = {}
    for workers in (1, 2):
        start = time.perf_counter()
        flow_shards(cohort, sections, folder / f"flow_{workers}", workers=workers)
        taken[workers] = time.perf_counter() - start
    print(
        f"one section of {cine.frames} frames {cine.pixels.shape[2:]}: {rates['clips_per_s']:.0f} augmented clips/s, "
        f"{rates['flow_maps_per_s']:.1f} flow maps/s in one process, {rates['features_per_s']:.2f} features/s; flow "
        f"of {len(sections)} sections: one process {taken[1]:.2f} s, two {taken[2]:.2f} s (with their start)",
        flush=True,
    )
    return rates


def rate(work, least_s: float = 1.5) -> float:
    """Calls a second, after one that warms up."""
    work()
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < least_s:
        work()
        n += 1
    return n / (time.perf_counter() - start)


def model_flops(design, clips) -> float:
    """Of one training step: multiplications and additions of all matrix products, three times the forward pass."""
    steps, rows, columns = design.grid
    tokens = steps * rows * columns
    kept, hidden = int(tokens * 0.1), tokens - int(tokens * 0.1)

    def block(n, width, asked=None):
        asked = asked or n
        return 2 * (3 * n * width**2 + asked * width**2 * 9) + 4 * asked * n * width

    forward = 2 * kept * design.tubelet * design.patch**2 * design.width + design.depth * block(kept, design.width)
    forward += (design.decoder_depth - 1) * block(tokens, design.decoder_width)
    forward += block(tokens, design.decoder_width, hidden)
    forward += 2 * hidden * design.decoder_width * design.tubelet // 2 * design.patch**2
    return 3.0 * clips * forward


def gpu_step(design, peak_tflops, clips=56) -> dict:
    """A compiled bf16 step against fp32 eager on the GPU, its share of the peak, and the paper's training projected."""
    data = [part.cuda() for part in batch(design, clips)]
    torch.manual_seed(0)
    eager = MaskedAutoencoder(design, mean=0.5, std=0.2).cuda()
    model = MaskedAutoencoder(design, mean=0.5, std=0.2).cuda()
    model.load_state_dict(eager.state_dict())
    model.encoder, model.decoder = torch.compile(model.encoder), torch.compile(model.decoder)
    seconds = {}
    for name, step in (("fast", fast_step(model)), ("eager", fast_step(eager, torch.float32))):
        for n in range(8):
            torch.cuda.synchronize()
            start = time.perf_counter()
            step(*data)
            torch.cuda.synchronize()
            seconds.setdefault(name, []).extend([time.perf_counter() - start] if n >= 3 else [])
    fast, plain = (float(np.median(seconds[name])) for name in ("fast", "eager"))
    utilisation = model_flops(design, clips) / fast / (peak_tflops * 1e12)
    days = 200 * 259_000 * 4 / (clips / fast) / 86_400
    print(
        f"{torch.cuda.get_device_name()}: {clips} clips in {fast:.3f} s compiled bf16, {plain:.3f} s fp32 eager; "
        f"{100 * utilisation:.0f} % of {peak_tflops:.0f} TFLOP/s; 200 epochs × 259,000 sections × 4 clips here: "
        f"{days:.1f} days (paper: 24 days on four A100)"
    )
    return {"gpu_vs_fp32": plain / fast, "gpu_clips_per_s": clips / fast, "gpu_flop_share": utilisation}


if __name__ == "__main__":
    main()
