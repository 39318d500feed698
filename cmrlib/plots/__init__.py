"""Pictures: a table (or a cine) in, an ax or a figure out. Nothing is computed here that a table should hold."""

from cmrlib.plots.cines import animate, base_mid_apex, heart_box, phase_sheet, show_slice, stack_picture
from cmrlib.plots.frames import confidence_error, frame_curves, frame_errors_by, seed_pairs
from cmrlib.plots.heartmae import (
    attention_figure,
    blinded_figure,
    cohort_map,
    disease_figure,
    evidence_sheet,
    explained_bars,
    flow_sheet,
    pretraining_curves,
    ratio_panels,
    restored_sheet,
    tasks_figure,
)
from cmrlib.plots.phantom import cycle_figure, published_figure
from cmrlib.plots.series import thumbnails
from cmrlib.plots.statistics import (
    agreement_figure,
    bland_altman,
    confidence,
    curve_panels,
    few_labels,
    loss_curves,
    overlap_figure,
    overlap_strips,
    regression,
    segment_heatmap,
    volume_curves,
)
from cmrlib.plots.stratification import by_group, coloured_maps, group_heatmap
from cmrlib.plots.style import mark_synthetic, use_style
from cmrlib.plots.valve import (
    animate_points,
    clinical_figure,
    edge_sheet,
    motion_curves,
    points_sheet,
    stage_figure,
    stage_points_figure,
    variability_figure,
)

__all__ = [
    "attention_figure", "blinded_figure", "by_group", "cohort_map", "coloured_maps", "disease_figure", "evidence_sheet",
    "explained_bars", "flow_sheet", "group_heatmap", "pretraining_curves", "ratio_panels", "restored_sheet",
    "tasks_figure",
    "agreement_figure", "animate", "animate_points", "base_mid_apex", "bland_altman", "clinical_figure",
    "confidence", "confidence_error", "curve_panels", "cycle_figure", "edge_sheet", "few_labels", "frame_curves",
    "frame_errors_by", "heart_box", "loss_curves", "mark_synthetic", "motion_curves", "overlap_figure",
    "overlap_strips", "phase_sheet", "points_sheet", "published_figure", "regression", "seed_pairs",
    "segment_heatmap", "show_slice", "stack_picture", "stage_figure", "stage_points_figure", "thumbnails",
    "use_style", "variability_figure", "volume_curves",
]
