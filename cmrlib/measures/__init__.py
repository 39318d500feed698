"""Masks → volumes, fractions, mass, wall thickness, the 18 features, curves, and flags beside each number."""

from cmrlib.measures.arealength import (
    area_length,
    biplane_curve,
    biplane_ml,
    chamber_curve,
    single_plane_curve,
    single_plane_ml,
    valve_middle,
)
from cmrlib.measures.curves import PeriodicFit, curves, ed_es_from_curve, extremes, peak_rates, volume_curve
from cmrlib.measures.features import features
from cmrlib.measures.names import (
    AHA_SEGMENTS,
    FEATURES,
    INDEXED,
    MEASURES,
    Measure,
    indexed_features,
    indexed_name,
)
from cmrlib.measures.plausible import withheld
from cmrlib.measures.postprocess import clean_mask, open_slices
from cmrlib.measures.quality import quality_flags
from cmrlib.measures.studies import given_phases, studies, whole_sections
from cmrlib.measures.volumes import (
    Conventions,
    apply_papillary,
    base_is_first,
    bsa_m2,
    ejection_fraction_pct,
    excluded_slices,
    mass_g,
    slice_widths_mm,
    volumes,
    voxel_counts,
)
from cmrlib.measures.walls import segment_numbers, segment_sense, wall_thickness, walls

__all__ = [
    "AHA_SEGMENTS", "FEATURES", "INDEXED", "MEASURES", "Conventions", "Measure", "PeriodicFit",
    "apply_papillary", "area_length", "base_is_first", "biplane_curve", "biplane_ml", "bsa_m2",
    "chamber_curve", "clean_mask", "curves", "ed_es_from_curve", "ejection_fraction_pct", "excluded_slices",
    "extremes", "features", "given_phases", "indexed_features", "indexed_name", "mass_g", "open_slices",
    "peak_rates", "quality_flags", "segment_numbers", "segment_sense", "single_plane_curve",
    "single_plane_ml", "slice_widths_mm", "studies", "valve_middle", "volume_curve", "volumes",
    "voxel_counts", "wall_thickness", "walls", "whole_sections", "withheld",
]  # fmt: skip
