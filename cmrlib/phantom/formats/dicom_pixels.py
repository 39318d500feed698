"""Defects of DICOM pixels: how the same picture can be stored, and what cannot be decoded."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from cmrlib.phantom.formats.dicom import get_pixels, set_pixels
from cmrlib.phantom.formats.dicom_holes import one_frame
from cmrlib.phantom.formats.registry import defect, other

MPEG4 = "1.2.840.10008.1.2.4.102"
"""A video syntax that no pydicom plugin decodes."""


def _store(source, change):
    """Replace every image by what `change(file, image)` returns, as signed or unsigned numbers."""
    for file in source.images():
        stored = change(file, get_pixels(file.content).astype(np.int32))
        signed = bool((stored < 0).any())
        set_pixels(file.content, stored.astype(np.int16 if signed else np.uint16), signed)
    return source.cines


@defect("dicom", "read", rows="r-13")
def signed_pixels(source, rng):
    """Pixels are signed, 1000 less than they mean; RescaleIntercept says so."""
    _store(source, lambda file, image: image - 1000)
    for file in source.images():
        file.content.RescaleIntercept, file.content.RescaleSlope = 1000, 1
    return source.cines


@defect("dicom", "read", rows="r-13")
def rescaled_pixels(source, rng):
    """Pixels are doubled, with a slope of one half."""
    for file in source.images():
        file.content.RescaleIntercept, file.content.RescaleSlope = 0, 0.5
    return _store(source, lambda file, image: image * 2)


@defect("dicom", "read", rows="r-13")
def rescaled_differently(source, rng):
    """The slope differs from frame to frame."""
    for file in source.images():
        file.content.RescaleIntercept, file.content.RescaleSlope = 0, 0.5 ** (file.t % 3)
    return _store(source, lambda file, image: image * 2 ** (file.t % 3))


@defect("dicom", "read", rows="r-13")
def white_is_zero(source, rng):
    """MONOCHROME1: the largest number is black."""
    for file in source.images():
        image = get_pixels(file.content)
        bits = int(file.content.BitsStored)
        set_pixels(file.content, 2**bits - 1 - image)
        file.content.BitsStored, file.content.HighBit = bits, bits - 1
        file.content.PhotometricInterpretation = "MONOCHROME1"
    return source.cines


@defect("dicom", "read", rows="r-14")
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
    done = []
    for file in files or source.images():
        data = file.content
        if not data.file_meta.TransferSyntaxUID.is_compressed and min(data.Rows, data.Columns) >= 32:
            data.compress(syntax, generate_instance_uid=False)
            done.append(file)
    if not done:
        raise ValueError("nothing to compress: expected plain images of at least 32×32 pixels")
    return source.cines


@defect("dicom", "read", rows="1a-20 r-10", late=1)
def compressed_rle(source, rng):
    """Pixels are compressed as RLE."""
    return _compress(source, RLELossless)


@defect("dicom", "read", rows="1a-20 r-10", late=1)
def compressed_jpeg2000(source, rng):
    """Pixels are compressed as lossless JPEG 2000."""
    return _compress(source, JPEG2000Lossless)


@defect("dicom", "read", rows="1a-20", late=1)
def deflated(source, rng):
    """Whole files are deflated."""
    for file in source.images():
        file.content.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return source.cines


@defect("dicom", "refuse", "compressed as", rows="1a-20 r-10", late=1)
def no_decoder(source, rng):
    """A long-axis cine is compressed in a syntax for which no decoder is installed."""
    cine = other(source, rng)
    files = source.images(cine)
    _compress(source, RLELossless, files)
    for file in files:
        file.content.file_meta.TransferSyntaxUID = MPEG4
    return [cine]


@defect("dicom", "read", rows="1a-22", late=1)
def icon_with_pixels(source, rng):
    """Compressed files hold a small compressed picture in a sequence before the pixels."""
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
    return sorted({file.cine for file in files})


@defect("dicom", "flag", "missing_frames", rows="1a-8 r-8")
def rows_disagree_with_pixels(source, rng):
    """One file speaks of more rows than its pixels have."""
    cine, file = one_frame(source, rng)
    file.content.Rows += 1
    file.refuse = "damaged|cut short|size|single"
    return [cine]


@defect("dicom", "flag", "missing_frames", rows="r-15")
def pixels_not_numbers(source, rng):
    """One file holds floating-point pixels with a NaN."""
    cine, file = one_frame(source, rng)
    image = get_pixels(file.content).astype("<f4")
    image[0, 0] = np.nan
    del file.content.PixelData
    file.content.FloatPixelData, file.content.BitsAllocated = image.tobytes(), 32
    for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(file.content, keyword)
    file.refuse = "NaN|no pixel data"
    return [cine]
