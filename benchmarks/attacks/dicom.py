"""DICOM: headers, pixels and stacks as scanners, archives and mistakes leave them."""

import numpy as np
import pydicom
from corpus import apply
from corpus.dicom import get_pixels, set_pixels
from corpus.dicom_edit import again, set_tags, twin

from attacks import Attack
from attacks.bases import FOUR, SAX


def tags(cine=None, **values):
    """Set tags of all images, or of a cine's; a function is called with the file; None removes."""
    return lambda place: set_tags(place.source, cine, **values)


def written(keyword, text):
    """Set a number's field to a text that is none."""

    def changed(place):
        for file in place.source.images():
            element = pydicom.DataElement(keyword, "LO", text)
            element.VR = pydicom.datadict.dictionary_VR(keyword)
            file.content[keyword] = element

    return changed


def defect(name):
    return lambda place: apply(name, place.source)


def image(cine, change, k=None, t=None):
    """Change the pixels of a cine's images, of one slice or frame where given: array → array."""

    def changed(place):
        for file in place.source.images(cine, k, t):
            set_pixels(file.content, change(get_pixels(file.content)))

    return changed


def each(change, cine=None):
    """Change every file of a cine, or of all."""

    def changed(place):
        for file in place.source.images(cine):
            change(file)

    return changed


def exchanged(cine, a, b):
    """Exchange the pixels of two slices, frame by frame."""

    def changed(place):
        for one, other in zip(place.source.images(cine, a), place.source.images(cine, b)):
            first, second = get_pixels(one.content).copy(), get_pixels(other.content).copy()
            set_pixels(one.content, second)
            set_pixels(other.content, first)

    return changed


def frames_as(cine, order):
    """Give frame t the picture of frame order(t)."""

    def changed(place):
        for k in {file.k for file in place.source.images(cine)}:
            files = place.source.images(cine, k)
            pictures = [get_pixels(file.content).copy() for file in files]
            for t, file in enumerate(files):
                set_pixels(file.content, pictures[order(t)])

    return changed


def positions(change):
    """Slice k of the stack at change(position, normal, k)."""

    def changed(place):
        for file in place.source.images(SAX):
            rows = np.reshape(np.array(file.content.ImageOrientationPatient, float), (2, 3))
            now = np.array(file.content.ImagePositionPatient, float)
            file.content.ImagePositionPatient = [round(float(x), 4) for x in change(now, np.cross(*rows), file.k)]

    return changed


def mixed(**values):
    """Odd frames say another person."""
    return tags(**{name: (lambda file, value=value: value[file.t % 2]) for name, value in values.items()})


def further_image(**values):
    """One further image at the place of the stack's third slice, in a series of its own."""

    def changed(place):
        file = place.source.images(SAX, 2, 0)[0]
        place.source.files.append(twin(file, again(file.path, "further "), SeriesInstanceUID="2.25.77", **values))

    return changed


def turned_half(place):
    """The basal half of the stack is stored turned by 180°, geometry and pixels together."""
    for file in place.source.images(SAX):
        if file.k >= 3:
            data = file.content
            rows = np.reshape(np.array(data.ImageOrientationPatient, float), (2, 3))
            far = rows[0] * data.PixelSpacing[1] * (data.Columns - 1) + rows[1] * data.PixelSpacing[0] * (data.Rows - 1)
            data.ImagePositionPatient = [round(float(x), 4) for x in np.array(data.ImagePositionPatient, float) + far]
            data.ImageOrientationPatient = [-float(x) for x in data.ImageOrientationPatient]
            set_pixels(data, get_pixels(data)[::-1, ::-1])


def inverse(picture):
    return (picture.max() - picture).astype(np.uint16)


NO_RR = {"NominalInterval": None, "HeartRate": None}
TIMES = {
    "trigger_in_seconds": ("step_implausible|rr_implausible", tags(TriggerTime=lambda f: f.t * 0.04, **NO_RR)),
    "trigger_in_microseconds": ("ordered_by|time", tags(TriggerTime=lambda f: f.t * 40_000.0, **NO_RR)),
    "trigger_negative": ("ordered_by", tags(TriggerTime=lambda f: -40.0 * f.t - 1, **NO_RR)),
    "rr_1_ms": ("rr_", tags(NominalInterval=1, TriggerTime=None, HeartRate=None)),
    "rr_1e9_ms": ("rr_", tags(NominalInterval=10**9, TriggerTime=None, HeartRate=None)),
    "heart_rate_of_9999": ("rr_", tags(HeartRate=9999, TriggerTime=None, NominalInterval=None)),
    "trigger_text": ("ordered_by", written("TriggerTime", "soon")),
    "trigger_beyond_float": ("ordered_by|rejected", written("TriggerTime", "1e999")),
}
PLACES = {
    "slices_100_mm_apart": ("slice_distance_implausible", positions(lambda p, along, k: p + 90 * k * along)),
    "slices_1_km_apart": ("none:|metres away", positions(lambda p, along, k: p + 1e6 * k * along)),
    "one_slice_1e6_mm_thick": ("", tags(SAX, SliceThickness=lambda f: 1e6 if f.k == 2 else 10)),
    "all_slices_at_one_place": ("again|nothing in the headers", positions(lambda p, along, k: p - p)),
    "slice_moved_30_mm_aside": ("irregular|shift", positions(lambda p, along, k: np.add(p, [30 * (k == 2), 0, 0]))),
    "pixels_of_19_mm": ("pixel_size_implausible", tags(PixelSpacing=[19, 19])),
    "pixels_1.37_by_13.7_mm": ("pixel_size_implausible", tags(PixelSpacing=[1.37, 13.7])),
    "pixels_of_0.11_mm": ("pixel_size_implausible", tags(PixelSpacing=[0.11, 0.11])),
    "pixels_of_1_micrometre": ("spacing_unknown", tags(PixelSpacing=[0.001, 0.001])),
    "pixels_of_nan": ("spacing_unknown", written("PixelSpacing", "nan\\nan")),
    "spacing_of_one_number": ("spacing_unknown", tags(PixelSpacing=5)),
    "position_of_nan": ("no position", written("ImagePositionPatient", "nan\\0\\0")),
    "position_of_two_numbers": ("no position", tags(FOUR, ImagePositionPatient=[1, 2])),
    "orientation_of_zeros": ("orientation", tags(FOUR, ImageOrientationPatient=[0] * 6)),
    "orientation_both_the_same": ("right angles", tags(FOUR, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])),
    "half_the_stack_turned": ("irregular|turned|unknown|coverage", turned_half),
    "further_image_at_a_slice": ("again|single", further_image()),
    "further_image_of_other_size": ("single", further_image(PixelSpacing=[4.0, 4.0])),
}
STACKS = {
    "trigger_exchanged_between_slices": ("", tags(SAX, AcquisitionTime=lambda f: f"10{f.k:02d}{59 - f.t:02d}.000000")),
    "one_frame_inverted": ("grey_inverted", image(SAX, inverse, k=2, t=3)),
    "one_slice_inverted": ("grey_inverted", image(SAX, inverse, k=2)),
    "slice_turned_by_90": ("slice_turned", image(SAX, np.rot90, k=2)),
    "slice_mirrored": ("slice_turned", image(SAX, lambda p: p[:, ::-1], k=2)),
    "slice_upside_down": ("slice_turned", image(SAX, lambda p: p[::-1], k=2)),
    "slices_exchanged": ("slices_exchanged|slices_shifted|slice_turned", exchanged(SAX, 1, 3)),
}
PEOPLE = {
    "two_sexes_one_number": ("several patients", mixed(PatientID=("ANON", "ANON"), PatientSex=("M", "F"))),
    "two_birth_dates": (
        "several patients",
        mixed(PatientID=("ANON",) * 2, PatientBirthDate=("19010101", "19010102")),
    ),
    "two_people_frame_by_frame": ("several", mixed(PatientID=("", ""), PatientBirthDate=("19010101", "19000102"))),
    "two_names_no_other_sign": ("several patients", mixed(PatientID=("", ""), PatientName=("MARKED^A", "MARKED^B"))),
    "two_numbers": ("several patients", mixed(PatientID=("MARKED-1", "MARKED-2"))),
    "age_of_999": ("age_implausible", tags(PatientAge="999Y")),
    "age_negative": ("", tags(PatientAge="-05Y")),
    "weight_of_9000": ("weight_implausible", tags(PatientWeight=9000)),
    "height_in_cm": ("height", tags(PatientSize=171)),
    "sex_formula": ("", tags(PatientSex="=1+1")),
}
PIXELS = {
    "8_bits_stored": ("BitsStored", tags(BitsStored=8, HighBit=7)),
    "high_bit_15_of_12": ("HighBit", defect("high_bit_at_the_top")),
    "high_bit_0": ("HighBit", tags(HighBit=0)),
    "palette_without_palette": ("palette", defect("palette_without_palette")),
    "rgb_without_colours": ("colour", tags(PhotometricInterpretation="RGB")),
    "all_inverted_monochrome1_lies": ("contrast_low|grey_inverted", tags(PhotometricInterpretation="MONOCHROME1")),
    "frames_frozen": ("frames_repeated", frames_as(FOUR, lambda t: min(t, 3))),
    "all_frames_one_picture": ("no_motion", frames_as(FOUR, lambda t: 0)),
    "black_frame": ("constant_images", image(FOUR, np.zeros_like, t=2)),
    "black_cine": ("constant_images", image(FOUR, np.zeros_like)),
    "white_frame": ("constant_images", image(FOUR, lambda p: np.full_like(p, 4095), t=2)),
    "noise_only": (
        "contrast_low",
        image(FOUR, lambda p: np.random.default_rng(int(p.sum())).integers(0, 900, p.shape).astype(np.uint16)),
    ),
    "rescale_slope_0": ("", tags(RescaleSlope=0, RescaleIntercept=0)),
    "rescale_slope_nan": ("", written("RescaleSlope", "nan")),
    "rescale_to_infinity": ("infinite|too large", written("RescaleSlope", "1e300")),
    "rescale_negative_slope": ("contrast_low|grey_inverted", tags(RescaleSlope=-1, RescaleIntercept=4095)),
    "two_samples": ("colour", tags(SamplesPerPixel=2)),
    "rows_0": ("no pixel data", tags(FOUR, Rows=0)),
    "one_frame_of_65535_rows": (
        "single image|cut short",
        tags(FOUR, Rows=lambda file: 65535 if file.t == 2 else file.content.Rows),
    ),
    "number_of_frames_1e9": ("multi-frame", tags(FOUR, NumberOfFrames=10**9)),
    "signed": ("", defect("signed_pixels")),
    "rescaled": ("", defect("rescaled_pixels")),
    "monochrome1": ("", defect("white_is_zero")),
    "overlay_in_high_bits": ("", defect("overlay_in_high_bits")),
}
ATTACKS = [
    Attack(name, base, change, words)
    for base, family in (("dicom", PLACES | STACKS), ("one view", TIMES | PEOPLE | PIXELS))
    for name, (words, change) in family.items()
]
