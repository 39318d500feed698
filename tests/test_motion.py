"""Motion without masks: twelve numbers of a square whose brightness follows a known curve."""

from dataclasses import replace

import numpy as np
import pytest

from cmrlib.cine import Cine
from cmrlib.measures import RefusedError
from cmrlib.measures.motion import MOTION, motion_scalars

PHASE = 2 * np.pi * np.arange(16) / 16
CURVE = 0.75 + np.cos(PHASE) + 0.5 * np.cos(2 * PHASE)  # 0 to 2.25
SQUARE = slice(19, 45)
"""26 × 26 pixels in the middle of 64 × 64: 16.5 % of all, and more than the 15 % that are asked for."""


def square_cine(start=0, margin=0, slices=5):
    pixels = np.zeros((16, slices, 64, 64), np.float32)
    pixels[:, :, SQUARE, SQUARE] = 100 * np.roll(CURVE, start)[:, None, None, None]
    pixels = np.pad(pixels, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    pixels[:, [0, -1]] *= 3  # outer slices are not asked
    return Cine(pixels, np.diag([2.0, 2.0, 8.0, 1]), "sax", "X")


@pytest.mark.parametrize("cine", [square_cine(), square_cine(5), square_cine(margin=9)])
def test_scalars_of_a_square_by_hand_wherever_recording_and_image_begin(cine):
    share = 26**2 / 64**2
    mean, spread = share * CURVE.mean(), np.sqrt(share * (CURVE**2).mean() - (share * CURVE.mean()) ** 2)
    moves, z = CURVE.std() / spread, (CURVE - mean) / spread
    by_hand = {
        "sd_mean": share * moves, "sd_p95": moves, "sd_p99": moves, "moving_40": share, "moving_60": share,
        "bright_largest": 26**2 / 32**2, "bright_smallest": 0, "bright_change": 1, "centre_mean": z.mean(),
        "harmonic_1": 1 / spread, "harmonic_2": 0.5 / spread, "harmonic_3": 0,
    }  # fmt: skip
    assert z.min() < 0.8 < z.max() and moves > 0.6
    found = motion_scalars(cine)
    assert tuple(found) == MOTION and found == pytest.approx(by_hand, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "got"), [({"view": "4ch"}, "view 4ch"), ({"spacing_known": False}, "pixel size unknown")]
)
def test_what_cannot_be_compared_is_refused(changes, got):
    with pytest.raises(RefusedError, match=got):
        motion_scalars(replace(square_cine(), **changes))
