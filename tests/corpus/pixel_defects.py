"""Defects of DICOM pixels: how the same image can be stored, and what cannot be decoded."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from corpus.dicom import get_pixels, set_pixels
from corpus.registry import defect, other

MPEG4 = "1.2.840.10008.1.2.4.102"
"""A video syntax that no pydicom plugin decodes."""


def _rescale(source, slope, intercept=0):
    """Store what gives the image back with this slope (a function of the file) and intercept."""
    for file in source.images():
        stored = np.round((get_pixels(file.content).astype(np.int32) - intercept) / slope(file)).astype(np.int32)
        signed = bool((stored < 0).any())
        set_pixels(file.content, stored.astype(np.int16 if signed else np.uint16), signed)
        file.content.RescaleIntercept, file.content.RescaleSlope = intercept, slope(file)
    return source.cines


@defect("dicom", "read")
def signed_pixels(source, rng):
    """Pixels are signed, 1000 less than they mean; RescaleIntercept says so."""
    return _rescale(source, lambda file: 1, 1000)


@defect("dicom", "read")
def rescaled_pixels(source, rng):
    """Pixels are doubled, with a slope of one half."""
    return _rescale(source, lambda file: 0.5)


@defect("dicom", "read")
def rescaled_differently(source, rng):
    """The slope differs from frame to frame."""
    return _rescale(source, lambda file: 0.5 ** (file.t % 3))


@defect("dicom", "read")
def white_is_zero(source, rng):
    """MONOCHROME1: the largest number is black."""
    for file in source.images():
        image, bits = get_pixels(file.content), int(file.content.BitsStored)
        set_pixels(file.content, 2**bits - 1 - image)
        file.content.BitsStored, file.content.HighBit = bits, bits - 1
        file.content.PhotometricInterpretation = "MONOCHROME1"
    return source.cines


@defect("dicom", "read")
def overlay_in_high_bits(source, rng):
    """12 bits of 16 are stored; the upper four hold an overlay that is no part of the image."""
    for file in source.images():
        image = get_pixels(file.content)
        if image.max() > 4095:
            raise ValueError("this defect needs images of 12 bits")
        overlay = np.zeros_like(image)
        overlay[::4, ::3] = 0x1000
        file.content.PixelData = (image | overlay).astype("<u2").tobytes()
        file.content.BitsStored, file.content.HighBit = 12, 11
    return source.cines


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


@defect("dicom", "read", late=1)
def deflated(source, rng):
    """Whole files are deflated."""
    for file in source.images():
        file.content.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return source.cines


@defect("dicom", "refuse", "compressed as", late=1)
def no_decoder(source, rng):
    """A long-axis cine is compressed in a syntax for which no decoder is installed."""
    files = source.images(other(source, rng))
    _compress(source, RLELossless, files)
    for file in files:
        file.content.file_meta.TransferSyntaxUID = MPEG4
    return [files[0].cine]


@defect("dicom", "read", late=1)
def icon_with_pixels(source, rng):
    """Compressed files hold a small compressed image in a sequence before the pixels."""
    files = source.images(other(source, rng))
    _compress(source, RLELossless, files)
    for file in files:
        icon = Dataset()
        icon.Rows = icon.Columns = 4
        icon.SamplesPerPixel, icon.PhotometricInterpretation, icon.PixelRepresentation = 1, "MONOCHROME2", 0
        icon.BitsAllocated, icon.BitsStored, icon.HighBit = 8, 8, 7
        icon.PixelData = encapsulate([b"\0" * 80])
        icon["PixelData"].VR, icon["PixelData"].is_undefined_length = "OB", True
        file.content.IconImageSequence = [icon]
    return [files[0].cine]
