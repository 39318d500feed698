"""Pictures: a table (or a cine) in, an ax or a figure out. Nothing is computed here that a table should hold.

Functions named after a figure or a sheet return the matplotlib figure, those that take an `ax` return that ax;
`synthetic` marks the figure as made from phantoms.
"""

from cmrlib.plots.cines import (
    animate,
    base_mid_apex,
    crossing_sheet,
    drawn_frame,
    examination_row,
    heart_box,
    outline_sheet,
    phase_sheet,
    show_slice,
    stack_picture,
    still,
    thumbnails,
)
from cmrlib.plots.classification import calibration_figure, confusion, model_intervals, roc_by_method, roc_pr_figure
from cmrlib.plots.elements import bounded_text, mark_synthetic, use_style
from cmrlib.plots.frames import (
    confidence_error,
    frame_curves,
    frame_errors_by,
    seed_pairs,
    sequence_pictures,
    sequence_sheet,
    stack_phases,
)
from cmrlib.plots.patches import patch_strips, preparation_steps, real_patches, saliency_sheet, step_pictures
from cmrlib.plots.selfsupervision import (
    attention_figure,
    cohort_map,
    disease_figure,
    evidence_sheet,
    explained_bars,
    flow_sheet,
    gains_figure,
    occlusion_figure,
    ratio_panels,
    reconstruction_sheet,
    restoration_bars,
    restoration_sheet,
    tasks_figure,
)
from cmrlib.plots.statistics import (
    agreement_figure,
    bullseye,
    calibration_curves,
    confidence,
    curve_panels,
    few_labels,
    loss_curves,
    overlap_figure,
    precision_figure,
    volume_curves,
)
from cmrlib.plots.stratification import by_group, coloured_maps, group_heatmap
from cmrlib.plots.valve import (
    clinical_figure,
    clinical_panels,
    motion_curves,
    points_sheet,
    stage_figure,
    stage_points_figure,
    valve_overview,
    variability_figure,
)
