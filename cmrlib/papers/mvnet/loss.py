"""From a network's output to points, and its loss. Points are (b, 2, 2): two points as (column, row) in pixels."""

import torch
import torch.nn.functional as F

from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES

SPREAD_CELLS = 1.0
"""SD of the target of a heat map, in its own cells of four pixels."""


def decode(output, shape, reach: int = 3) -> torch.Tensor:
    """Output of a network, (b, 4) or logits (b, 2 or 3, h, w) → points in pixels of a picture of `shape` (rows,
    columns).

    Of a map the mean within `reach` cells of its maximum: not bound to whole cells, and a second peak has no say.
    """
    if output.dim() == 2:
        return (output.view(-1, 2, 2) + 1) * _half(output, shape) - 0.5
    output = output[:, :2]
    peak = output.flatten(2).argmax(2)[..., None]
    rows, columns = _axes(output)
    near_row = (rows - peak // output.shape[3]).abs() <= reach
    near_column = (columns - peak % output.shape[3]).abs() <= reach
    near = near_row[..., None] & near_column[:, :, None]
    return expected_points(output.masked_fill(~near, -torch.inf), shape)


def expected_points(logits, shape) -> torch.Tensor:
    """Logits (b, 2, h, w) → the mean position of each map's softmax, in pixels."""
    p = logits.flatten(2).softmax(2).view_as(logits)
    rows, columns = _axes(logits)
    mean = torch.stack([(p.sum(2) * columns).sum(2), (p.sum(3) * rows).sum(2)], -1)
    cell = _cell(logits, shape)
    return mean * cell + (cell - 1) / 2


def gaussian_maps(points, logits, shape) -> torch.Tensor:
    """Points (b, 2, 2) → targets of heat maps like `logits`: Gaussians that sum to 1."""
    cell = _cell(logits, shape)
    place = (points - (cell - 1) / 2) / cell
    rows, columns = _axes(logits)
    column = torch.exp(-((columns - place[..., 0, None]) ** 2) / (2 * SPREAD_CELLS**2))
    row = torch.exp(-((rows - place[..., 1, None]) ** 2) / (2 * SPREAD_CELLS**2))
    maps = row[..., None] * column[:, :, None]
    return maps / maps.sum((2, 3), keepdim=True).clamp(min=1e-12)


def peak_confidence(logits, reach: int = 2) -> torch.Tensor:
    """Logits (b, 2 or 3, h, w) → (b,) probability that both points lie within `reach` cells of their most likely
    places."""
    logits = logits[:, :2]
    p = logits.flatten(2).softmax(2).view_as(logits)
    side = 2 * reach + 1
    return (F.avg_pool2d(p, side, 1, reach) * side**2).flatten(2).amax(2).prod(1)


def cavity_loss(logits, labels):
    """Cross-entropy and 1 − soft Dice of the LV cavity, mean over pictures. logits: (b, h, w); labels: (b, rows,
    columns), 255 does not count; the target of a cell is the cavity's share of it."""
    known = F.adaptive_avg_pool2d((labels != NOT_ANNOTATED).float(), logits.shape[1:])
    inside = F.adaptive_avg_pool2d((labels == STRUCTURES["lv"]).float(), logits.shape[1:])
    entropy = F.binary_cross_entropy_with_logits(logits, inside, reduction="none") * known
    found = logits.sigmoid() * known
    dice = (2 * (found * inside).sum((1, 2)) + 1) / ((found + inside).sum((1, 2)) + 1)
    return (entropy.mean((1, 2)) + 1 - dice).mean()


class PointLoss:
    """The paper's mean squared error in units of half the picture; of heat maps, the cross-entropy with a Gaussian
    around each point beside it; of three maps (head "masks"), cross-entropy and soft Dice of the LV cavity too.
    Targets: points in pixels of pictures of `shape`, labels (b, rows, columns); NaN points and 255 do not count."""

    def __init__(self, shape):
        self.shape = tuple(shape)

    def __call__(self, output, target, labels=None):
        if labels is not None:
            return self(output[:, :2], target) + cavity_loss(output[:, 2], labels)
        known = torch.isfinite(target).all(2)  # (b, 2)
        target = torch.where(known[..., None], target, 0.0)
        found = decode(output, self.shape) if output.dim() == 2 else expected_points(output, self.shape)
        error = (((found - target) / _half(output, self.shape)) ** 2).mean(2)
        if output.dim() == 4:
            wanted = gaussian_maps(target, output, self.shape)
            error = error - (wanted * output.flatten(2).log_softmax(2).view_as(output)).sum((2, 3))
        return (error * known).sum() / known.sum().clamp(min=1)

    def decodes(self, output):
        """Output → points, or (points, labels) of three maps, for fastai's `show_results`."""
        points = decode(output, self.shape)
        if output.dim() == 2 or output.shape[1] < 3:
            return points
        cavity = F.interpolate(output[:, 2:], self.shape, mode="bilinear", align_corners=False)[:, 0] > 0
        return points, cavity * STRUCTURES["lv"]


def _axes(logits):
    """(rows, columns) of a map: 0, 1, 2, …"""
    return tuple(torch.arange(n, device=logits.device) for n in logits.shape[2:])


def _cell(logits, shape):
    """Pixels per cell of the maps, (column, row)."""
    return torch.tensor([shape[1] / logits.shape[3], shape[0] / logits.shape[2]], device=logits.device)


def _half(output, shape):
    return torch.tensor([shape[1] / 2, shape[0] / 2], device=output.device)
