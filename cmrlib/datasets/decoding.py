"""Stored pixels of a DICOM frame → one grey image, or the reason why there is none."""

import numpy as np
import pydicom

from cmrlib.datasets.header import OVERLAYS, File, Refused, number, text
from cmrlib.datasets.order import Frame

_DECODERS = {
    "1.2.840.10008.1.2.4.9": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4": "pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.5": "pylibjpeg-rle",
}


def pixels(frame: Frame, keep: bool = False) -> np.ndarray:
    """Image (rows, columns) of a frame, decoded once: a classic file's data set is released then, unless
    told to `keep`.

    Stored integers stay as they are where no rescale is asked for, else float32. Raises Refused with the reason.
    """
    header, _, file, index = frame.source
    if text(file.header, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2", ""):
        raise Refused("pixels are colours, or numbers of a palette's; expected MONOCHROME1 or MONOCHROME2")
    bits, high = number(file.header, "BitsStored"), number(file.header, "HighBit")
    if high + 1 < bits or high + 1 > bits:  # NaN where one is absent
        raise Refused(f"HighBit is {high:g} and BitsStored {bits:g}; expected {bits - 1:g}: export the images again")
    try:
        image = _decode(header, file, index)
    except Refused:
        raise
    except Exception as error:
        raise Refused(_decoder_reason(text(file.header, "TransferSyntaxUID"), error)) from error
    if image.shape != frame.shape:
        raise Refused("decoded image has another size than its header says")
    if image.dtype.kind == "f" and not np.isfinite(image.astype(np.float32)).all():
        raise Refused("pixels are NaN or infinite, or too large for 32 bits")
    if index is None and not keep:
        file.data = None
    return image


def _within_bits(image, bits, overlaid: bool) -> np.ndarray:
    """Integers cut to their stored bits. Raises Refused where those above hold anything but signs, or overlays."""
    unused = 8 * image.dtype.itemsize - bits
    if image.dtype.kind == "f" or not unused > 0:
        return image
    cut = image << int(unused) >> int(unused)
    unsigned = (cut < 0) & (image == cut & 2 ** int(bits) - 1)  # negative numbers may be stored without their sign
    if not overlaid and ((image != cut) & ~unsigned).any():
        raise Refused(f"pixels are larger than BitsStored allows, {bits:g} bits: export the images again")
    return cut


def _decode(header, file: File, index):
    top = file.header
    image = pydicom.pixels.pixel_array(file.data, index=index, correct_unused_bits=False)
    image = _within_bits(image, number(top, "BitsStored"), any(tag in file.data for tag in OVERLAYS))
    if text(top, "PhotometricInterpretation") == "MONOCHROME1":  # there black is the largest number
        bits = int(top["BitsStored"])
        low = -(2 ** (bits - 1)) if number(top, "PixelRepresentation") == 1 else 0
        image = (2 * low + 2**bits - 1 - image.astype(np.int64)).astype(image.dtype)
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    slope, intercept = slope if np.isfinite(slope) and slope else 1.0, intercept if np.isfinite(intercept) else 0.0
    return image if (slope, intercept) == (1.0, 0.0) else (image * slope + intercept).astype(np.float32)


def _decoder_reason(syntax, error) -> str:
    """What a user needs for a file that would not decode: the transfer syntax and the package that reads it."""
    syntax = pydicom.uid.UID(syntax)
    known = syntax in pydicom.uid.AllTransferSyntaxes
    if known and syntax.is_compressed and isinstance(error, RuntimeError | NotImplementedError):
        package = next((name for prefix, name in _DECODERS.items() if syntax.startswith(prefix)), "gdcm")
        return (
            f"pixels are compressed as {syntax.name} ({syntax}) and could not be decoded: "
            f"pip install {package}, or the file is damaged"
        )
    if not known:
        return "pixels are stored in a transfer syntax that nobody knows: export the images again, uncompressed"
    return f"pixels cannot be read ({type(error).__name__}); the file is damaged or cut short"
