"""What the diagnosis notebooks cost: training steps against plain fp32 of the same network, and one cine's answer.

    python benchmarks/diagnosis.py [--threads 2] [--rounds 7] [--only barlow_speedup,classify_seconds]

Each figure is one function that takes the arguments and returns {name: value}; rounds of both ways are interleaved and
medians taken. The last line is `name=value` pairs.

transform_share, transform_speedup, restoration_speedup: of SSLHF, see restoration.py, which also runs alone.
barlow_speedup: one step (forward, loss, backward, AdamW) of Barlow Twins with the paper's network (ResNet-18, projector
2048) on 64 cines of 25 frames, 64×64: bf16, channels last, fused AdamW against fp32, contiguous, plain AdamW and the
loss as published, by the matrix of correlations, view by view.
siamese_speedup: the same for a Siamese step, everything but the last block frozen; plain sees each cine of a pair by
itself.
classify_seconds: `MitralRegurgitation.predict` of one phantom 4CH cine of 50 frames, 208×208, masks given: preparation
and network of the paper's size, patches of 64×64.
"""

import argparse
import time
from copy import deepcopy

import numpy as np
import torch
from restoration import restoration_speedup, transform_share

from cmrlib.learning.training import set_threads_and_seed
from cmrlib.papers.cussp import MitralRegurgitation, Preprocessing, barlow_loss, contrastive_loss
from cmrlib.papers.cussp.network import BARLOW_LAMBDA, BarlowTwins, Classifier, Encoder, Siamese, cross_correlation
from cmrlib.phantom import make_orders, make_study

FRAMES, SIDE, BATCH = 25, 64, 64


def barlow_speedup(arguments) -> dict:
    """Step of Barlow Twins, plain over ours."""
    views = [torch.randn(BATCH, FRAMES, SIDE, SIDE) for _ in range(2)]
    model = BarlowTwins(Encoder(FRAMES))
    return {
        "barlow_speedup": _speedup(
            "Barlow Twins", model, views, published_barlow_loss, barlow_loss, arguments.rounds, ViewByView(model)
        )
    }


class ViewByView(torch.nn.Module):
    """Each view through encoder and projector by itself, as published, with torch's own layers."""

    def __init__(self, model):
        super().__init__()
        self.encoder = deepcopy(model.encoder)
        self.projector = deepcopy(getattr(model, "projector", torch.nn.Identity()))
        for part in self.modules():
            for plain in (torch.nn.BatchNorm1d, torch.nn.Conv2d):
                if isinstance(part, plain):
                    part.__class__ = plain

    def forward(self, one, other):
        return torch.stack([self.projector(self.encoder(view)) for view in (one, other)], 1)


def published_barlow_loss(projections):
    """With the whole matrix of correlations, as in the paper."""
    correlation = cross_correlation(projections[:, 0], projections[:, 1])
    diagonal = correlation.diagonal()
    off = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + BARLOW_LAMBDA * off


def siamese_speedup(arguments) -> dict:
    """Siamese step, plain over ours."""
    pair = [torch.randn(BATCH, FRAMES, SIDE, SIDE) for _ in range(2)]
    unlike = (torch.arange(BATCH) % 2).float()
    model = Siamese(Encoder(FRAMES).freeze_all_but())

    def loss(out):
        return contrastive_loss(out, unlike)

    return {"siamese_speedup": _speedup("Siamese", model, pair, loss, loss, arguments.rounds, OneByOne(model))}


class OneByOne(ViewByView):
    """Each cine of a pair through the encoder by itself."""

    def forward(self, one, other):
        return torch.nn.functional.normalize(super().forward(one, other), dim=2)


def classify_seconds(arguments) -> dict:
    """Seconds from a cine and its masks to a probability."""
    order = make_orders(1, 1, frames=50, size=208, spacing_mm=1.4, views=["4ch"], cohort="mr")
    study = make_study(*next(iter(order.items())))
    cine = study.cines[0]
    annotation = study.observers["truth"][cine.name]
    model = MitralRegurgitation(Classifier(Encoder(FRAMES)), Preprocessing("valve", SIDE, 100.0, 2 * FRAMES), FRAMES)
    taken = _timed({"predict": lambda: model.predict(cine, annotation)}, arguments.rounds)
    print(
        f"one cine of {cine.frames} frames, {cine.pixels.shape[2]}×{cine.pixels.shape[3]}: {taken['predict']:.3f} s",
        flush=True,
    )
    return {"classify_seconds": taken["predict"]}


def _speedup(name, model, inputs, plain_loss, loss, rounds, plain_model):
    """Median seconds of a plain fp32 step over those of a bf16, channels-last, fused one; same weights, same inputs."""
    plain, fast = deepcopy(plain_model).train(), deepcopy(model).train().to(memory_format=torch.channels_last)
    last = [x.contiguous(memory_format=torch.channels_last) for x in inputs]
    ways = {"plain": _step(plain, inputs, plain_loss, False), "fast": _step(fast, last, loss, True)}
    taken = _timed(ways, rounds)
    text = f"plain fp32 {taken['plain']:.3f} s a step, bf16 channels last fused {taken['fast']:.3f} s"
    print(f"{name}: {text}", flush=True)
    return taken["plain"] / taken["fast"]


def _step(model, inputs, loss, fast):
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, 1e-4, weight_decay=0.01, fused=fast)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            out = model(*inputs)
        loss(out.float()).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def _timed(ways: dict, rounds: int) -> dict:
    """Way → median seconds over interleaved rounds, after two that only warm up."""
    taken = {name: [] for name in ways}
    for n in range(rounds + 2):
        for name in list(ways)[:: 1 if n % 2 else -1]:
            start = time.perf_counter()
            ways[name]()
            taken[name] += [time.perf_counter() - start] if n >= 2 else []
    return {name: float(np.median(values)) for name, values in taken.items()}


FIGURES = {
    one.__name__: one
    for one in (transform_share, restoration_speedup, barlow_speedup, siamese_speedup, classify_seconds)
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default=",".join(FIGURES), help="names of figures, separated by commas")
    arguments = parser.parse_args()
    set_threads_and_seed(0, arguments.threads)
    found = {}
    for name in arguments.only.split(","):
        found |= FIGURES[name](arguments)
    print(" ".join(f"{name}={value:.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
