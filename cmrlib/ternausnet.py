"""TernausNet: a U-Net whose encoder is VGG11. Segments SAX, 4CH and 2CH cines, one network a view.

Iglovikov & Shvets 2018, arXiv:1801.05746, as used by CUSSP (section 2.1) with 100 labelled images a view.

Where we leave the papers, and why:

* batch norm after every convolution: from random weights the plain form hardly trains (ImageNet weights fit both);
* three input channels are the slice between its neighbours about 10 mm away, not three copies of it: base and apex
  are decided by what comes next to them. Without neighbours (long axis) the slice is repeated, as in the papers;
* `width` 64 is the paper's; smaller widths are the same network, narrower;
* cross-entropy + Dice over classes of a batch, with un-annotated pixels left out (loss not stated in CUSSP).
"""

import time
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from fastai.learner import Learner
from torch import nn
from tqdm import tqdm

from cmrlib.anatomy import NOT_ANNOTATED, VIEW_STRUCTURES, codes
from cmrlib.blocks import NOT_DRAWN, TensorLabels, segmentation_block, standard_slice
from cmrlib.cine import Cine, Plane
from cmrlib.cohort import Annotation, Observer
from cmrlib.measures import clean_mask
from cmrlib.overlap import dice
from cmrlib.training import adamw, fit, load_weights, save_weights


@dataclass(frozen=True)
class Preprocessing:
    """How pixels reach the network; stored beside the weights, used alike in training and prediction."""

    view: str = "sax"
    spacing_mm: float = 1.4
    size: int = 128


def convolution(channels_in, channels_out):
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out),
                         nn.ReLU(inplace=True))


class Decoder(nn.Module):
    """Joined maps (b, in, h, w) → (b, out, 2h, 2w): a 3×3 convolution, then a transposed one (the paper's block)."""

    def __init__(self, channels_in, middle, channels_out):
        super().__init__()
        self.convolution = convolution(channels_in, middle)
        self.up = nn.Sequential(nn.ConvTranspose2d(middle, channels_out, 4, stride=2, padding=1), nn.ReLU(inplace=True))

    def forward(self, *maps):
        return self.up(self.convolution(torch.cat(maps, 1)))


class TernausNet(nn.Module):
    """(b, 3, rows, columns), sides multiples of 32 → logits (b, 1 + structures, rows, columns)."""

    def __init__(self, classes: int = 4, width: int = 64):
        super().__init__()
        w = width
        self.encoder = nn.ModuleList([  # VGG11: one, one, two, two, two convolutions, a max-pooling after each
            convolution(3, w),
            convolution(w, 2 * w),
            nn.Sequential(convolution(2 * w, 4 * w), convolution(4 * w, 4 * w)),
            nn.Sequential(convolution(4 * w, 8 * w), convolution(8 * w, 8 * w)),
            nn.Sequential(convolution(8 * w, 8 * w), convolution(8 * w, 8 * w)),
        ])
        self.centre = Decoder(8 * w, 8 * w, 4 * w)
        self.decoder = nn.ModuleList([
            Decoder(12 * w, 8 * w, 4 * w),
            Decoder(12 * w, 8 * w, 2 * w),
            Decoder(6 * w, 4 * w, w),
            Decoder(3 * w, 2 * w, w // 2),
        ])
        self.last = convolution(w + w // 2, w)
        self.head = nn.Conv2d(w, classes, 1)

    def forward(self, x):
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.centre(x)  # (b, 4w, rows/16, columns/16)
        for stage in self.decoder:
            x = stage(x, skips.pop())
        return self.head(self.last(torch.cat([x, skips.pop()], 1)))  # (b, classes, rows, columns)


def build(architecture: dict) -> TernausNet:
    """Network from a weights card's `architecture`."""
    if architecture.get("name") != "TernausNet":
        raise ValueError(f"these are weights of {architecture.get('name')!r}, expected TernausNet; name another file")
    return TernausNet(1 + len(architecture["structures"]), architecture["width"])


def load_imagenet_encoder(model: TernausNet, path):
    """Copy VGG11-BN ImageNet weights (torchvision's state dict as a local .safetensors or weights-only .pth)."""
    from safetensors.torch import load_file

    state = load_file(path) if str(path).endswith(".safetensors") else torch.load(path, weights_only=True)
    ours = [m for m in model.encoder.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    numbers = sorted({int(k.split(".")[1]) for k in state if k.startswith("features.")})
    if len(numbers) != len(ours):
        raise ValueError(f"{path}: {len(numbers)} layers under `features`, expected {len(ours)}: give VGG11 with batch norm")
    for module, number in zip(ours, numbers, strict=True):
        layer = {k.rsplit(".", 1)[1]: v for k, v in state.items() if k.startswith(f"features.{number}.")}
        layer.pop("bias", None) if isinstance(module, nn.Conv2d) else None  # batch norm has a shift of its own
        module.load_state_dict(layer, strict=isinstance(module, nn.Conv2d))


class SegmentationLoss:
    """Cross-entropy + (1 − Dice averaged over structures), on annotated pixels only.

    logits (b, classes, h, w) fp32; target (b, h, w) label codes, with 255 ignored, and NOT_DRAWN meaning "none of the
    structures seen in this slice": there only the summed probability of the other classes is asked for.
    """

    def __init__(self, structures):
        self.structures = tuple(structures)
        self.channel = torch.full((256,), -1)
        for channel, code in enumerate([0, *codes(structures)]):
            self.channel[code] = channel

    def __call__(self, logits, target):
        target = target.long()
        channel = self.channel.to(target.device)[target]  # (b, h, w), −1 where not a plain label
        known = channel >= 0
        log_p = logits.log_softmax(1)
        p = log_p.exp() * known[:, None]
        truth = F.one_hot(channel.clamp(min=0), logits.shape[1]).permute(0, 3, 1, 2) * known[:, None]
        cross_entropy = -(log_p * truth).sum() / known.sum().clamp(min=1)
        overlap = (2 * (p * truth).sum((0, 2, 3)) + 1) / ((p + truth).sum((0, 2, 3)) + 1)
        loss = cross_entropy + 1 - overlap[1:].mean()
        partial = target == NOT_DRAWN
        return loss + self._none_of_those(log_p, truth, partial) if partial.any() else loss

    def activation(self, logits):
        return logits.softmax(1)

    def decodes(self, logits):
        """Logits → label codes, for fastai's `show_results` and `predict`."""
        return TensorLabels(torch.tensor([0, *codes(self.structures)])[logits.argmax(1)])

    @staticmethod
    def _none_of_those(log_p, truth, partial):
        seen = truth.sum((2, 3)) > 0  # (b, classes) drawn in this slice
        others = torch.where(seen[:, :, None, None], torch.tensor(-1e4), log_p).logsumexp(1)
        return -(others * partial).sum() / partial.sum()


class Segmenter:
    """A trained network with its preprocessing: cine in, mask and confidence out. No mask is asked where the heart is."""

    def __init__(self, model: TernausNet, preprocessing: Preprocessing, structures, precision: str = "bf16"):
        self.model = model.eval().to(memory_format=torch.channels_last)
        self.preprocessing, self.structures, self.precision = preprocessing, tuple(structures), precision
        self.codes = np.array([0, *codes(structures)], np.uint8)

    @classmethod
    def load(cls, path, precision: str = "bf16") -> "Segmenter":
        model, card = load_weights(path, build)
        return cls(model, Preprocessing(**card["preprocessing"]), card["architecture"]["structures"], precision)

    def save(self, path, **card):
        architecture = {"name": "TernausNet", "width": self.model.encoder[0][0].out_channels,
                        "structures": list(self.structures)}
        save_weights(self.model, path, {"architecture": architecture, "preprocessing": asdict(self.preprocessing)} | card)

    def predict(self, cine: Cine, frames=None, copies: int = 3, clean: bool = True):
        """Segment frames of a cine: (mask, confidence, flags).

        mask (frames, slices, rows, columns) uint8 on the native grid, 255 in frames not asked for. copies: turned
        copies of each slice whose probabilities are averaged. confidence: mean Dice of the single copies with their
        mean, per frame (NaN for one copy or frames not asked for). flags: what `clean_mask` corrected.
        """
        if copies < 1:
            raise ValueError(f"copies must be 1 or more, got {copies}")
        frames = list(range(cine.frames)) if frames is None else list(frames)
        mask = np.full(cine.pixels.shape, NOT_ANNOTATED, np.uint8)
        confidence = np.full(cine.frames, np.nan)
        planes = self._heart_planes(cine, frames, [0.0] if copies == 1 else np.linspace(-20, 20, copies))
        for t in frames:
            probabilities = [self._native(self._probabilities(cine, t, plane), plane) for plane in planes]
            mask[t] = self._labels(np.mean(probabilities, axis=0))
            confidence[t] = self._agreement([self._labels(p) for p in probabilities] if copies > 1 else [], mask[t])
        cleaned, flags = clean_mask(mask[frames]) if clean else (mask[frames], [])
        mask[frames] = cleaned
        return mask, confidence, flags

    def _agreement(self, votes, mean):
        values = [dice(vote, mean, code) for vote in votes for code in self.codes[1:]]
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def _labels(self, probabilities):
        return self.codes[probabilities.argmax(1)]

    def _step(self, cine):
        spacing = cine.spacing_mm[1:] if cine.spacing_known else (self.preprocessing.spacing_mm,) * 2
        return np.array([self.preprocessing.spacing_mm / mm for mm in spacing])

    def _heart_planes(self, cine, frames, angles_deg) -> list[Plane]:
        """Where and which way up to look closely: the whole field at two frames in four quarter turns, then a crop
        around what the surest turn found, 25 mm to spare. Archives differ in how they lay a heart in the image."""
        rows, columns = cine.pixels.shape[2:]
        step = self._step(cine)
        side = int(-(-max(rows / step[0], columns / step[1]) // 32) * 32)
        looks = []
        for turn in (0, 90, 180, 270):
            whole = Plane.around((rows, columns), step, (side, side), rotation_deg=turn)
            p = np.concatenate([self._probabilities(cine, t, whole) for t in {frames[0], frames[len(frames) // 2]}])
            looks.append((self._sureness(p), turn, whole, _largest(p.argmax(1) > 0)))
        _, turn, whole, found = max(looks, key=lambda look: look[0])
        if not found.any():
            return [Plane.around((rows, columns), step, (side, side), rotation_deg=turn + a) for a in angles_deg]
        r, c = np.nonzero(found)
        margin = 25 / self.preprocessing.spacing_mm
        size = min(side, int(-(-(max(np.ptp(r), np.ptp(c)) + 1 + 2 * margin) // 32) * 32))
        centre = whole.back_points([[(c.min() + c.max()) / 2, (r.min() + r.max()) / 2]])[0]
        return [Plane.around((rows, columns), step, (size, size), centre, turn + a) for a in angles_deg]

    @staticmethod
    def _sureness(probabilities):
        """Amount of structure, weighted by how sure the network is of it; a heart the wrong way up gives little."""
        return float((probabilities[:, 1:] ** 2).sum())

    def _probabilities(self, cine, t, plane) -> np.ndarray:
        """(slices, classes, rows, columns) on the plane's grid; a batch is one frame's slices, never more."""
        stack = np.stack([standard_slice(cine, t, k, plane) for k in range(cine.slices)])
        batch = torch.from_numpy(stack).permute(0, 3, 1, 2)  # (slices, 3, rows, columns), channels last in memory
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            return self.model(batch).float().softmax(1).numpy()

    def _native(self, probabilities, plane) -> np.ndarray:
        """(slices, classes, rows, columns) on the plane's grid → the same on the cine's own grid."""
        native = np.zeros((*probabilities.shape[:2], *plane.source_shape), np.float32)
        for k, channels in enumerate(probabilities):
            for c in range(1, len(channels)):
                native[k, c] = plane.back_pixels(channels[c])
        native[:, 0] = 1 - native[:, 1:].sum(1)
        return native


def _largest(found) -> np.ndarray:
    """(slices, rows, columns) bool → (rows, columns): where the largest connected region of the projection lies."""
    count, regions, stats, _ = cv2.connectedComponentsWithStats(found.any(0).astype(np.uint8))
    return regions == 1 + stats[1:, cv2.CC_STAT_AREA].argmax() if count > 1 else np.zeros(found.shape[1:], bool)


def segmentation_learner(cohort, observer, samples, preprocessing: Preprocessing, width: int = 64, batch_size: int = 8,
                         validation_size: int | None = None, start_from=None, imagenet=None) -> Learner:
    """fastai Learner for `samples` (blocks.sample_table) of one view.

    start_from: weights file to continue from (fine-tuning). imagenet: local file of VGG11-BN weights.
    """
    structures = VIEW_STRUCTURES[preprocessing.view]
    block = segmentation_block(cohort, observer, preprocessing.view, preprocessing.spacing_mm, preprocessing.size,
                               validation_size)
    dls = block.dataloaders(samples, bs=batch_size, num_workers=0)
    if start_from:
        model = Segmenter.load(start_from).model.train()
    else:
        model = TernausNet(1 + len(structures), width)
        if imagenet:
            load_imagenet_encoder(model, imagenet)
    return Learner(dls, model, loss_func=SegmentationLoss(structures), opt_func=adamw)


def train_segmenter(cohort, observer, samples, preprocessing: Preprocessing, epochs: int, seed: int, lr: float = 2e-3,
                    precision: str = "bf16", checkpoint=None, **learner) -> tuple[Segmenter, Learner]:
    """Train one view's network; resumes from `checkpoint`. Returns the segmenter and the learner (its loss curve)."""
    torch.manual_seed(seed)
    learn = segmentation_learner(cohort, observer, samples, preprocessing, **learner)
    settings = asdict(preprocessing) | {k: str(v) for k, v in learner.items()} | {"cohort": cohort.digest}
    fit(learn, epochs, lr, seed, precision, checkpoint, settings, f"TernausNet {preprocessing.view}",
        validate_every=max(1, epochs // 8))
    return Segmenter(learn.model, preprocessing, VIEW_STRUCTURES[preprocessing.view], precision), learn


def segment_cohort(cohort, segmenters: dict[str, Segmenter], folder, subjects=None, reference: str = "",
                   whole_cycle: bool = True, copies: int = 3) -> pd.DataFrame:
    """Segment every cine of the views that have a segmenter, and lay the masks over the cohort as an observer.

    folder: the observer's. subjects: participant_ids, default all. whole_cycle False: only the frames that the
    observer `reference` drew. Returns a row a cine: participant_id, session, cine, view, frames, confidence (mean
    over ED and ES where they are known, else over all frames), seconds, flags.
    """
    wanted = cohort.cines[cohort.cines["view"].isin(list(segmenters))]
    wanted = wanted if subjects is None else wanted[wanted["participant_id"].isin(list(subjects))]
    if wanted.empty:
        raise ValueError(f"no cine of the views {', '.join(segmenters)} among these subjects of {cohort.path.name}")
    observer, rows = Observer(folder), []
    for row in tqdm(list(wanted.itertuples()), desc="segment", unit="cine", disable=None):
        cine, start = cohort.cine(row.cine), time.monotonic()
        drawn = cohort.observer(reference).mask(row.cine).annotated if reference and not whole_cycle else None
        mask, confidence, flags = segmenters[row.view].predict(cine, drawn, copies)
        structures = segmenters[row.view].structures
        observer.write(cine, Annotation(mask, {t: structures for t in (drawn or range(cine.frames))}))
        phases = [t for t in (cine.ed, cine.es) if t is not None and np.isfinite(confidence[t])]
        rows.append({"participant_id": row.participant_id, "session": row.session, "cine": row.cine, "view": row.view,
                     "frames": len(drawn or range(cine.frames)), "confidence": np.nanmean(confidence[phases or slice(None)]),
                     "seconds": round(time.monotonic() - start, 3), "flags": ";".join(flags)})
    return pd.DataFrame(rows)
