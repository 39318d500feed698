"""All named defects: DEFECTS, name → Defect, filled by the modules that stand here; `apply` changes a source by one."""

from cmrlib.phantom.formats import (
    acdc_defects,
    dicom_beside,
    dicom_headers,
    dicom_holes,
    dicom_names,
    dicom_pixels,
    dicom_series,
    enhanced_defects,
    nifti_defects,
    nifti_storage,
    ukbb_defects,
)
from cmrlib.phantom.formats.registry import DEFECTS, Defect, apply

MODULES = (
    dicom_series,
    dicom_holes,
    dicom_headers,
    dicom_names,
    dicom_pixels,
    dicom_beside,
    enhanced_defects,
    nifti_defects,
    nifti_storage,
    acdc_defects,
    ukbb_defects,
)

__all__ = ["DEFECTS", "MODULES", "Defect", "apply"]
