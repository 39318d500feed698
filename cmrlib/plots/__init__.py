"""Pictures: a table (or a cine) in, an ax or a figure out. Nothing is computed here that a table should hold."""

from cmrlib.plots.cines import (
    animate,
    base_mid_apex,
    examination_row,
    heart_box,
    outline_sheet,
    phase_sheet,
    show_slice,
    show_still,
    stack_picture,
    still,
)
from cmrlib.plots.classification import calibration_figure, loss_panels, model_intervals, roc_pr_figure
from cmrlib.plots.frames import (
    confidence_error,
    frame_curves,
    frame_errors_by,
    seed_pairs,
    sequence_pictures,
    sequence_sheet,
)
from cmrlib.plots.heartmae import (
    attention_figure,
    blinded_figure,
    cohort_map,
    disease_figure,
    explained_bars,
    flow_sheet,
    pretraining_curves,
    ratio_panels,
    restored_sheet,
    tasks_figure,
    token_evidence,
)
from cmrlib.plots.patches import patch_strips, preparation_steps, real_patches, saliency_sheet, step_pictures
from cmrlib.plots.phantom import cycle_figure, published_figure
from cmrlib.plots.series import thumbnails
from cmrlib.plots.sslhf import (
    auc_by_method,
    confusion,
    evidence_sheet,
    gains_figure,
    restoration_bars,
    restoration_sheet,
    roc_by_method,
)
from cmrlib.plots.statistics import (
    agreement_figure,
    bland_altman,
    bullseye,
    confidence,
    curve_panels,
    few_labels,
    loss_curves,
    overlap_figure,
    overlap_strips,
    precision_figure,
    regression,
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
    valve_overview,
    variability_figure,
)

__all__ = [
    "agreement_figure", "animate", "animate_points", "attention_figure", "auc_by_method", "base_mid_apex",
    "bland_altman", "blinded_figure", "bullseye", "by_group", "calibration_figure", "clinical_figure", "cohort_map",
    "coloured_maps", "confidence", "confidence_error", "confusion", "curve_panels", "cycle_figure",
    "disease_figure", "edge_sheet", "evidence_sheet", "examination_row", "explained_bars", "few_labels", "flow_sheet",
    "frame_curves", "frame_errors_by", "gains_figure", "group_heatmap", "heart_box", "loss_curves", "loss_panels",
    "mark_synthetic", "model_intervals", "motion_curves", "outline_sheet", "overlap_figure", "overlap_strips",
    "patch_strips", "phase_sheet", "points_sheet", "precision_figure", "preparation_steps", "pretraining_curves",
    "published_figure", "ratio_panels", "real_patches", "regression", "restoration_bars", "restoration_sheet",
    "restored_sheet", "roc_by_method", "roc_pr_figure", "saliency_sheet", "seed_pairs",
    "sequence_pictures", "sequence_sheet", "show_slice", "show_still", "stack_picture", "stage_figure",
    "stage_points_figure", "step_pictures", "still", "tasks_figure", "thumbnails", "token_evidence", "use_style",
    "valve_overview", "variability_figure", "volume_curves",
]
