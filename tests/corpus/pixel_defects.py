"""Defects of DICOM pixels: how the same image can be stored, and what cannot be decoded."""

import numpy as np
from pydicom.uid import JPEG2000Lossless, RLELossless

from corpus.dicom import get_pixels, set_pixels
from corpus.registry import defect, edit_files, other

MPEG4 = "1.2.840.10008.1.2.4.102"
"""A video syntax that no pydicom plugin decodes."""


def _rescaled(file, slope, intercept=0):
    """Store what gives the image back with this slope and intercept."""
    stored = np.round((get_pixels(file.content).astype(np.int32) - intercept) / slope).astype(np.int32)
    signed = bool((stored < 0).any())
    set_pixels(file.content, stored.astype(np.int16 if signed else np.uint16), signed)
    file.content.RescaleIntercept, file.content.RescaleSlope = intercept, slope


def _white_is_zero(file):
    image, bits = get_pixels(file.content), int(file.content.BitsStored)
    set_pixels(file.content, 2**bits - 1 - image)
    file.content.BitsStored, file.content.HighBit = bits, bits - 1
    file.content.PhotometricInterpretation = "MONOCHROME1"


def _overlay_in_high_bits(file):
    image = get_pixels(file.content)
    if image.max() > 4095:
        raise ValueError("this defect needs images of 12 bits")
    overlay = np.zeros_like(image)
    overlay[::4, ::3] = 0x1000
    file.content.PixelData = (image | overlay).astype("<u2").tobytes()
    file.content.BitsStored, file.content.HighBit = 12, 11
    file.content.add_new(0x60000102, "US", 12)


edit_files(
    "dicom",
    {
        "signed_pixels": lambda file: _rescaled(file, 1, 1000),
        "rescaled_pixels": lambda file: _rescaled(file, 0.5),
        "rescaled_differently": lambda file: _rescaled(file, 0.5 ** (file.t % 3)),
        "white_is_zero": _white_is_zero,
        "overlay_in_high_bits": _overlay_in_high_bits,
    },
)


def _too_few_bits(file):
    image = get_pixels(file.content)
    file.content.BitsStored = bits = int(image.max()).bit_length() - 2
    file.content.HighBit = bits - 1


def _high_bit_at_the_top(file):
    file.content.BitsStored, file.content.HighBit = 12, 15


def _palette_without_palette(file):
    file.content.PhotometricInterpretation = "PALETTE COLOR"


for name, words, edit in (
    ("too_few_bits_stored", "BitsStored", _too_few_bits),
    ("high_bit_at_the_top", "HighBit", _high_bit_at_the_top),
    ("palette_without_palette", "palette", _palette_without_palette),
):
    edit_files("dicom", {name: edit}, refuse=words)


def _compress(source, syntax, files=None):
    """Compress what is plain and not smaller than the JPEG 2000 encoder takes."""
    data = [file.content for file in files or source.images()]
    fit = [d for d in data if not d.file_meta.TransferSyntaxUID.is_compressed and min(d.Rows, d.Columns) >= 32]
    if not fit:
        raise ValueError("nothing to compress: expected plain images of at least 32×32 pixels")
    for one in fit:
        one.compress(syntax, generate_instance_uid=False)
    return source.cines


for name, syntax in (("rle", RLELossless), ("jpeg2000", JPEG2000Lossless)):
    defect("dicom", "read", late=1, name=f"compressed_{name}")(
        lambda source, rng, syntax=syntax: _compress(source, syntax)
    )


@defect("dicom", "refuse", "compressed as", late=1)
def no_decoder(source, rng):
    files = source.images(other(source, rng))
    _compress(source, RLELossless, files)
    for file in files:
        file.content.file_meta.TransferSyntaxUID = MPEG4
    return [files[0].cine]
