"""Measures of one examination as a DICOM structured report by template TID 1500, by highdicom."""

from importlib.metadata import version

import highdicom as hd
import pandas as pd
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from cmrlib.app.export.segmentations import MANUFACTURER, SITES
from cmrlib.cohort import Observer
from cmrlib.measures import MEASURES

CODES = {
    "lvedv_ml": Code("8821-1", "LN", "Left Ventricular ED Volume"),
    "lvesv_ml": Code("8823-7", "LN", "Left Ventricular ES Volume"),
    "lvsv_ml": codes.SCT.StrokeVolume,
    "lvef_pct": Code("8811-2", "LN", "Left ventricular ejection fraction by MR"),
    "lvco_l_min": codes.SCT.CardiacOutput,
    "lvm_g": Code("18087-7", "LN", "Left Ventricle Mass"),
    "rvedv_ml": Code("8822-9", "LN", "Right Ventricular ED Volume"),
    "rvesv_ml": Code("8824-5", "LN", "Right Ventricular ES Volume"),
    "rvsv_ml": Code("429483009", "SCT", "RV Stroke Volume"),
    "rvef_pct": Code("8818-7", "LN", "Right ventricular ejection fraction by MR"),
    "la_max_ml": Code("79981-7", "LN", "Left atrial end systolic volume biplane (area-length)"),
    "heart_rate_bpm": Code("8867-4", "LN", "Heart rate"),
    "bsa_m2": Code("8277-6", "LN", "BSA"),
}
"""Of DICOM's context groups 3455, 3468, 3469, 3833, 3835, 12200 and 12300; what they lack keeps its name in a scheme of
our own."""
SCHEME = "99CMRLIB"


def report(values: dict, images, observer: Observer) -> sr.EnhancedSR | None:
    """One examination's report, None where nothing was measured.

    values: measure → number, NaN where unknown: left out. images: headers of the images that were annotated.
    """
    known = {name: values[name] for name in MEASURES if pd.notna(values.get(name))}
    if not known:
        return None
    many = [image for image in images if "NumberOfFrames" in image]  # highdicom's image library has none of them
    groups = []
    for site in ("lv", "rv", "la", "ra", ""):
        if own := {name: value for name, value in known.items() if _site(name) == site}:
            groups.append(_group(site, own, many))
    device = sr.DeviceObserverIdentifyingAttributes(uid=hd.UID(), name=observer.name, model_name="cmrlib")
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.SCT.CardiacMRI,
        imaging_measurements=groups,
        referenced_images=[image for image in images if "NumberOfFrames" not in image],
    )
    return sr.EnhancedSR(
        evidence=images,
        content=content[0],
        series_instance_uid=hd.UID(),
        series_number=899,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        series_description=f"measures {observer.name}"[:64],
        software_versions=version("cmrlib"),
        **MANUFACTURER,
    )


def _site(name: str) -> str:
    """The chamber that a measure is of; walls and their thickening are the LV's."""
    if name.startswith(("wall_", "thickening_")):
        return "lv"
    return name[:2] if name[:2] in ("lv", "rv", "la", "ra") else ""


def _group(site, values, images) -> sr.MeasurementsAndQualitativeEvaluations:
    named = sr.TrackingIdentifier(hd.UID(), site.upper() or "examination")
    own = {name: sr.CodedConcept(name, SCHEME, MEASURES[name].description[:64]) for name in values}
    units = {name: MEASURES[name].unit for name in values}
    ucum = {unit: Code(unit.replace("²", "2").replace("1/min", "/min"), "UCUM", unit) for unit in units.values()}
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=named,
        finding_sites=[sr.FindingSite(SITES[site])] if site else None,
        measurements=[
            sr.Measurement(CODES.get(name, own[name]), float(value), ucum[units[name]])
            for name, value in values.items()
        ],
        source_images=[sr.SourceImageForMeasurementGroup.from_source_image(image) for image in images] or None,
    )
