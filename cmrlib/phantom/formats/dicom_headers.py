"""Defects of DICOM headers: when a frame was taken, and where it lies."""

import numpy as np

from cmrlib.phantom.formats.dicom import decimal
from cmrlib.phantom.formats.registry import defect, other, short_axis
from cmrlib.phantom.formats.source import slice_of


def set_tag(source, keyword, value, cine=None):
    """Set a tag in all images, or a cine's; a function is called with the file; None removes the tag."""
    for file in source.images(cine):
        new = value(file) if callable(value) else value
        if new is None:
            if keyword in file.content:
                delattr(file.content, keyword)
        else:
            setattr(file.content, keyword, new)
    return source.cines if cine is None else [cine]


def _retime(source, cine, k, times_ms):
    """Other trigger times (frames,) for a slice, in files and truth."""
    times = np.round(times_ms, 2).tolist()
    slice_of(source.cines[cine], k)["frame_times_ms"] = times
    for file in source.images(cine, k):
        file.content.TriggerTime = times[file.t]


# --- when ------------------------------------------------------------------------------------------------------------


@defect("dicom", "read", rows="1a-11")
def trigger_is_scan_begin(source, rng):
    """TriggerTime holds the time since the scan began (308000 ms and more)."""
    return set_tag(source, "TriggerTime", lambda file: 308000.0 + 1000 * file.k + file.t)


@defect("dicom", "read", rows="1a-11 r-7")
def trigger_is_constant(source, rng):
    """TriggerTime holds an inversion time, the same in all frames."""
    return set_tag(source, "TriggerTime", 300.0)


@defect("dicom", "read", rows="r-6")
def trigger_is_zero(source, rng):
    """TriggerTime is zero in all frames."""
    return set_tag(source, "TriggerTime", 0.0)


@defect("dicom", "read", rows="1a-11")
def trigger_absent(source, rng):
    """No frame has a TriggerTime."""
    return set_tag(source, "TriggerTime", None)


@defect("dicom", "read", rows="r-6")
def first_trigger_absent(source, rng):
    """The first frame of each slice has no TriggerTime."""
    return set_tag(source, "TriggerTime", lambda file: float(file.content.TriggerTime) if file.t else None)


@defect("dicom", "read", rows="1b-5 r-6")
def first_trigger_late(source, rng):
    """The first frame comes 30 ms after the R wave."""
    for cine, truth in source.cines.items():
        for one in truth["slices"]:
            _retime(source, cine, one["slice"], np.array(one["frame_times_ms"]) + 30)
    return source.cines


@defect("dicom", "read", rows="1a-15")
def first_step_longer(source, rng):
    """In the last slice the first step between frames is a fifth longer and the second a fifth shorter."""
    cine = short_axis(source)
    one = source.cines[cine]["slices"][-1]
    times = np.array(one["frame_times_ms"])
    times[1] += 0.2 * (times[1] - times[0])
    _retime(source, cine, one["slice"], times)
    return [cine]


@defect("dicom", "read", rows="1a-14")
def trigger_rounded(source, rng):
    """TriggerTime is rounded to 2.5 ms."""
    for cine, truth in source.cines.items():
        for one in truth["slices"]:
            _retime(source, cine, one["slice"], 2.5 * np.round(np.array(one["frame_times_ms"]) / 2.5))
    return source.cines


@defect("dicom", "read", rows="1a-14")
def repetition_time_is_another_step(source, rng):
    """RepetitionTime is 1.3 times the frame step: it is no frame step."""
    return set_tag(
        source,
        "RepetitionTime",
        lambda file: decimal(1.3 * file.content.NominalInterval / file.content.CardiacNumberOfImages)[0],
    )


@defect("dicom", "read", rows="1a-13")
def instance_numbers_random(source, rng):
    """Instance numbers follow neither time nor place."""
    numbers = iter(rng.permutation(len(source.images())))
    return set_tag(source, "InstanceNumber", lambda file: int(next(numbers)) + 1)


@defect("dicom", "read", rows="1a-13")
def instance_numbers_repeated(source, rng):
    """All instance numbers are 1."""
    return set_tag(source, "InstanceNumber", 1)


@defect("dicom", "read", rows="1a-11")
def temporal_positions_only(source, rng):
    """Trigger times are constant, instance numbers 1: TemporalPositionIdentifier tells the order."""
    set_tag(source, "TriggerTime", 300.0)
    set_tag(source, "InstanceNumber", 1)
    return set_tag(source, "TemporalPositionIdentifier", lambda file: file.t + 1)


@defect("dicom", "refuse", "cannot be ordered", rows="1a-13")
def nothing_orders_frames(source, rng):
    """No trigger time, instance number or content time: the order cannot be known."""
    for keyword in ("TriggerTime", "InstanceNumber", "ContentTime", "AcquisitionTime"):
        set_tag(source, keyword, None)
    return source.cines


@defect("dicom", "read", rows="1a-14 r-5")
def rr_differs_between_views(source, rng):
    """A long-axis cine was taken at a heart rate 30 % lower."""
    cine = other(source, rng)
    for one in source.cines[cine]["slices"]:
        _retime(source, cine, one["slice"], 1.3 * np.array(one["frame_times_ms"]))
        one["rr_ms"] = round(1.3 * one["rr_ms"], 2)
    set_tag(source, "NominalInterval", lambda file: round(1.3 * file.content.NominalInterval), cine)
    return set_tag(source, "HeartRate", lambda file: round(file.content.HeartRate / 1.3), cine)


@defect("dicom", "flag", "rr_disagrees_with_header", rows="1a-14")
def rr_of_the_header_wrong(source, rng):
    """NominalInterval is 1.6 times what frames and steps say."""
    return set_tag(source, "NominalInterval", lambda file: round(1.6 * file.content.NominalInterval))


@defect("dicom", "read", rows="1a-14")
def rr_absent(source, rng):
    """No header tells the RR interval or the heart rate."""
    set_tag(source, "HeartRate", None)
    return set_tag(source, "NominalInterval", None)


@defect("dicom", "read", rows="1a-9")
def frame_count_absent(source, rng):
    """No header tells how many frames there should be."""
    return set_tag(source, "CardiacNumberOfImages", None)


# --- where -----------------------------------------------------------------------------------------------------------


@defect("dicom", "read", rows="1a-18")
def positions_rounded(source, rng):
    """Positions are rounded to a tenth of a millimetre, so that slice distances seem to vary."""
    return set_tag(
        source, "ImagePositionPatient", lambda file: [round(float(x), 1) for x in file.content.ImagePositionPatient]
    )


@defect("dicom", "read", rows="1a-7")
def spacing_between_slices_zero(source, rng):
    """SpacingBetweenSlices is 0; positions tell the distance."""
    return set_tag(source, "SpacingBetweenSlices", 0)


@defect("dicom", "read", rows="1a-7")
def thickness_is_not_distance(source, rng):
    """SliceThickness is half the distance of slices, and SpacingBetweenSlices is absent."""
    set_tag(source, "SliceThickness", lambda file: decimal(float(file.content.SpacingBetweenSlices) / 2)[0])
    return set_tag(source, "SpacingBetweenSlices", None)


def _spacing(source, value):
    for truth in source.cines.values():
        truth["spacing_mm"] = None
    return set_tag(source, "PixelSpacing", value)


@defect("dicom", "flag", "spacing_unknown", rows="r-29")
def spacing_zero(source, rng):
    """PixelSpacing is 0."""
    return _spacing(source, [0, 0])


@defect("dicom", "flag", "spacing_unknown", rows="r-29")
def spacing_negative(source, rng):
    """PixelSpacing is negative."""
    return _spacing(source, [-1.5, -1.5])


@defect("dicom", "flag", "spacing_unknown", rows="r-29")
def spacing_absent(source, rng):
    """PixelSpacing is absent."""
    return _spacing(source, None)


@defect("dicom", "refuse", "no position or orientation", rows="1a-16")
def orientation_absent(source, rng):
    """A long-axis cine has no ImageOrientationPatient."""
    return set_tag(source, "ImageOrientationPatient", None, other(source, rng))


@defect("dicom", "refuse", "right angles", rows="1c-11")
def directions_not_at_right_angles(source, rng):
    """Rows and columns of a long-axis cine meet at 80 degrees."""

    def tilted(file):
        row, column = np.reshape(file.content.ImageOrientationPatient, (2, 3)).astype(float)
        return decimal([row, np.cos(np.deg2rad(10)) * column + np.sin(np.deg2rad(10)) * row])

    return set_tag(source, "ImageOrientationPatient", tilted, other(source, rng))


@defect("dicom", "flag", "view_disagrees_with_description", rows="r-36")
def description_of_another_view(source, rng):
    """A long-axis cine is called by another view's name."""
    cine = other(source, rng)
    wrong = "cine_2ch" if source.cines[cine]["view"] != "2ch" else "cine_4ch"
    return set_tag(source, "SeriesDescription", wrong, cine)


@defect("dicom", "read", rows="1a-10")
def descriptions_absent(source, rng):
    """No series has a description, and folders are mere numbers."""
    for file in source.images():
        file.path = f"{source.folder}/{int(file.content.SeriesNumber):02d}/{file.path.rpartition('/')[2]}"
    return set_tag(source, "SeriesDescription", None)
