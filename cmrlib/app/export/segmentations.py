"""Masks as DICOM Segmentation objects, by highdicom.

One object says nothing of time, and refers to images of one series: every phase of every source series is one object.
An image on which nothing was drawn gets none; "not annotated" within an image cannot be said and counts as background.
"""

from importlib.metadata import version

import highdicom as hd
import numpy as np
import pydicom
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.sr.codedict import codes

from cmrlib.app.export.source import SourceImage, in_source_order
from cmrlib.cine import Cine
from cmrlib.cine.anatomy import COLOURS, NAMES, NOT_ANNOTATED, STRUCTURES
from cmrlib.cohort import Annotation, Observer
from cmrlib.cohort.files import read_json
from cmrlib.cohort.provenance import FILE

MANUFACTURER = {"manufacturer": "cmrlib", "manufacturer_model_name": "cmrlib", "device_serial_number": "none"}
SITES = {
    "lv": codes.SCT.LeftVentricle,
    "myo": codes.SCT.LeftVentricleMyocardium,
    "rv": codes.SCT.RightVentricle,
    "la": codes.SCT.LeftAtrium,
    "ra": codes.SCT.RightAtrium,
}
"""SNOMED CT codes of DICOM's context groups 7151 and 12305, which have none for a cavity alone."""

_OF_FRAMES = ("NumberOfFrames", "PerFrameFunctionalGroupsSequence")


def segmentations(cine: Cine, annotation: Annotation, images, observer: Observer):
    """Yield (name, object) of one cine's mask. images: [slice][frame] of `SourceFolder.images_of`.

    Raises ValueError naming the cine where highdicom refuses the source, say for want of a frame of reference.
    """
    mask, _ = in_source_order(cine, annotation.mask)
    tracked = {name: hd.UID() for name in STRUCTURES}  # one structure through all phases
    places = {}
    for k, row in enumerate(images):
        for image in filter(None, row):
            places.setdefault(image.series, []).append(k)
    for n, (series, slices) in enumerate(places.items(), 1):
        uid, part = hd.UID(), f"_series-{n}" if len(places) > 1 else ""
        for t, structures in sorted(annotation.annotated.items()):
            drawn = {k: mask[t, k] for k in dict.fromkeys(slices) if images[k][t] and images[k][t].series == series}
            drawn = {k: one for k, one in drawn.items() if ((one > 0) & (one != NOT_ANNOTATED)).any()}
            if not drawn:
                continue
            made = {"series_instance_uid": uid, "series_number": 900 + n, "instance_number": t + 1}
            made["content_description"] = f"view {cine.view}, phase {t + 1} of {cine.frames}"
            made["series_description"] = f"{cine.view} {observer.name}"[:64]
            described = descriptions([one for one in STRUCTURES if one in structures], tracked, observer)
            try:
                found = _segmentation([images[k][t] for k in drawn], list(drawn.values()), structures, described, made)
            except (AttributeError, TypeError, ValueError) as error:
                raise ValueError(f"{cine.name}: highdicom makes no segmentation of its source: {error}") from error
            yield f"{cine.name}{part}_phase-{t + 1:02d}_seg.dcm", found


def _segmentation(images: list[SourceImage], drawn, structures, described, made) -> Segmentation:
    """One object. images and drawn (rows, columns): one a slice."""
    number = np.zeros(256, np.uint8)  # segments are numbered from 1 without a gap
    for n, code in enumerate((code for name, code in STRUCTURES.items() if name in structures), 1):
        number[code] = n
    frames = [image.number for image in images]
    sources = [image.header for image in images] if frames[0] is None else [_frames_of(images[0].header, frames)]
    found = Segmentation(
        source_images=sources,
        pixel_array=number[np.stack(drawn)],
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        sop_instance_uid=hd.UID(),
        software_versions=version("cmrlib"),
        **MANUFACTURER,
        **made,
    )
    if len(drawn) == 1:  # highdicom says 1 mm
        del found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    if frames[0] is not None:
        referred = [
            one.DerivationImageSequence[0].SourceImageSequence[0] for one in found.PerFrameFunctionalGroupsSequence
        ]
        for source in {id(one): one for one in referred}.values():  # segments of one place share theirs
            source.ReferencedFrameNumber = frames[source.ReferencedFrameNumber - 1]
    return found


def _frames_of(header: pydicom.Dataset, numbers) -> pydicom.Dataset:
    """A multi-frame file's header with some of its frames: highdicom asks for one image at each place."""
    every = header.PerFrameFunctionalGroupsSequence
    part = pydicom.Dataset()  # pydicom's own copies share their elements with the header
    part.update({one.tag: one for one in header if one.keyword not in _OF_FRAMES})
    part.file_meta = header.file_meta
    part.NumberOfFrames, part.PerFrameFunctionalGroupsSequence = len(numbers), [every[n - 1] for n in numbers]
    return part


def descriptions(structures, tracked, observer: Observer) -> list[SegmentDescription]:
    """Who drew which structure, in SNOMED's words."""
    how = drawn_by(observer)
    family = codes.DCM.ArtificialIntelligence
    by = hd.AlgorithmIdentificationSequence(observer.name, family, version("cmrlib"))
    return [
        SegmentDescription(
            segment_number=n,
            segment_label=NAMES[name],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=SITES[name],
            algorithm_type=how,
            algorithm_identification=None if how == SegmentAlgorithmTypeValues.MANUAL else by,
            tracking_uid=tracked[name],
            tracking_id=NAMES[name],
            display_color=CIELabColor.from_string(COLOURS[name]),
        )
        for n, name in enumerate(structures, 1)
    ]


def drawn_by(observer: Observer) -> SegmentAlgorithmTypeValues:
    """A network (which leaves a note of what it learned from), a person who corrected one, or a person."""
    if (observer.path / FILE).exists():
        return SegmentAlgorithmTypeValues.AUTOMATIC
    mark = observer.path / "made_by.json"
    made = read_json(mark).get("made_by", "") if mark.exists() else ""
    return SegmentAlgorithmTypeValues.SEMIAUTOMATIC if made == "cmr correct" else SegmentAlgorithmTypeValues.MANUAL
