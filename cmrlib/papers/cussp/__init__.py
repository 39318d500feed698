"""CUSSP: mitral regurgitation (MR) from four-chamber cines, with few labels and many cines without.

"Cardiovascular magnetic resonance U-Net localized Self-Supervised Predictor": segment, localise the mitral valve, crop
around it, equalise over the left atrium's grey values, predict. The encoder learns without labels (Barlow Twins), then
from pairs (Siamese), then carries a classifier.

    model = MitralRegurgitation.load("runs/quick/05_cussp/weights/siam25")
    model.predict(cine, annotation)   # annotation: LV and LA, of a person or of TernausNet

Where we leave the paper, or where it leaves us, and why:

* how a cine enters a 2-D ResNet-18 is not stated: its frames are the channels, so SIAM-25 has its own pretraining.
  Cycles are resampled to a fixed number of even steps; with fewer than 50, "25 frames" are half of them;
* the patch stands still, where the valve is on average (`follow` lets it go with the valve): LA above, apex below. Its
  size is not stated; ours is in millimetres. Equalisation is one mapping for all frames of a cine;
* λ and the distortions of the two views, patch size, epochs and rates are not stated: λ is Barlow Twins' own, the
  others are parameters. Hearts are not mirrored. Loss terms are divided by a batch's true size;
* the contrastive loss has Hadsell's margin form: "maximise for unlike pairs" has no bound. Embeddings have unit length;
* "the last block" is ResNet-18's last residual block. Frozen layers keep their batch statistics too;
* no validation set is named: a fifth of the 525 training subjects chooses thresholds and epochs;
* weak labels of the CNN-LSTM are cited (Fries et al. 2019), not described: four rules on measurements and a label
  model. The settings table spans input size × attention × masks. The attention layer weighs places and starts as
  identity;
* a cohort of 4CH cines only has no short axis: the forest's 18 features are then single-plane ones of that view.
"""

from cmrlib.papers.cussp.batches import Distortion
from cmrlib.papers.cussp.cnnlstm import CnnLstm, CnnRecipe, Setting, train_cnn_lstm
from cmrlib.papers.cussp.evaluation import (
    MODELS,
    PAPER,
    calibration,
    curves,
    embedding_table,
    gap_closed,
    metrics_of,
    paired_auc,
    table_2,
    thresholds,
)
from cmrlib.papers.cussp.evidence import attribution, cases, systolic_shadow
from cmrlib.papers.cussp.learning import Design, Recipe, pretrain, pretraining_rows, weights_digest
from cmrlib.papers.cussp.localisation import centre_errors, centre_metrics, real_cases
from cmrlib.papers.cussp.network import barlow_loss, contrastive_loss, joint_loss
from cmrlib.papers.cussp.patches import Patches, prepare_cohort
from cmrlib.papers.cussp.prediction import MitralRegurgitation
from cmrlib.papers.cussp.preparation import Preprocessing, RefusedError, locate, prepare, window_frames
from cmrlib.papers.cussp.roles import assign_roles, require_no_leak
from cmrlib.papers.cussp.study import (
    Setup,
    all_settings,
    cnn_settings,
    picture_scores,
    tabular_scores,
    train_models,
    weak_labels,
)
from cmrlib.papers.cussp.tabular import importances, search_table

__all__ = [
    "MODELS",
    "PAPER",
    "CnnLstm",
    "CnnRecipe",
    "Design",
    "Distortion",
    "MitralRegurgitation",
    "Patches",
    "Preprocessing",
    "Recipe",
    "RefusedError",
    "Setting",
    "Setup",
    "all_settings",
    "assign_roles",
    "attribution",
    "barlow_loss",
    "calibration",
    "cases",
    "centre_errors",
    "centre_metrics",
    "cnn_settings",
    "contrastive_loss",
    "curves",
    "embedding_table",
    "gap_closed",
    "importances",
    "joint_loss",
    "locate",
    "metrics_of",
    "paired_auc",
    "picture_scores",
    "prepare",
    "prepare_cohort",
    "pretrain",
    "pretraining_rows",
    "real_cases",
    "require_no_leak",
    "search_table",
    "systolic_shadow",
    "table_2",
    "tabular_scores",
    "thresholds",
    "train_cnn_lstm",
    "train_models",
    "weak_labels",
    "weights_digest",
    "window_frames",
]
