"""SSLHF: heart failure with reduced or preserved EF from short-axis cines, after learning to restore them.

Zhong et al., "A self-supervised learning based framework for automatic heart failure classification on cine cardiac
magnetic resonance image": stage one restores patches of the left ventricle through time that were shuffled and covered;
stage two is its encoder with three fully connected layers; a patient's score is the mean over his patches.

    model = HeartFailure.load("runs/full/06_sslhf/weights/sslhf_fold0_seed1")
    model.predict(cine, annotation)

Where we leave the paper, and why; the profile `paper` goes back where a setting allows it:

* skip connections are not stated; "U-Net like" is taken to mean them. They let texture pass by the deeper encoder,
  which is all that stage two takes over; but without them (`Design.skips`) a training of few epochs restores a blur,
  from which stage two starts worse than from random weights. Widths are in a figure that the text does not describe;
* 40 frames cannot be halved four times: a max-pooling halves the cycle while its length is even, so 40, 20, 10, 5, 5;
* batch norm after every convolution (not stated); in the comparators group norm, as in the paper;
* the max-pooling of stage two goes over all that is left of space and time; widths of the connected layers are ours;
* size and number of shuffled windows are not stated: sides of 2 to 16 pixels, together half of a frame's area. Equation
  1 permutes whole rows and columns (`shuffle="paper"`); "any" permutes all pixels, as Models Genesis does;
* covered pixels get uniform random values with the mean and SD of the z-scored patch; groups of covered frames keep a
  frame between them and may go round the cycle; a sample gets every non-empty choice of transformations equally often;
* the clip at 2000 means the paper's scanner: `Preprocessing.clip=0` takes each patch's 99.9th percentile. Pixel size is
  not stated: patches have the image's own, or one of `spacing_mm`;
* patches lie around the largest moving region; no mask is asked where the heart is. Which slices show the LV an
  observer says (the paper: a physician), else the middle of the stack is taken;
* rotations about time are quarter turns, which blur nothing;
* stage one learns from training patients alone, and chooses its epoch by a tenth of them: the paper does not say
  whether its stage one saw the test folds. Averaged weights are validated and kept, as in all learners here;
* epochs and batch size are not stated; stage one keeps the epoch of the smallest loss, stage two that of the largest
  AUC over validation patches; the threshold is the best of sensitivity + specificity on validation patients;
* Adam at 1e-5 in stage two is for the paper's many steps; small profiles take a larger rate, the same with and without
  stage one;
* convolutions over fewer frames than their kernel run in fp32 on CPUs (`network.Conv3d` says why).
"""

from cmrlib.papers.sslhf.comparators import COMPARATORS, DenseNet121, ResNet50, architecture, build
from cmrlib.papers.sslhf.ejection import known_ef, measured_by_network
from cmrlib.papers.sslhf.evidence import attributions, pick_cases
from cmrlib.papers.sslhf.groups import ef_classes, group_accuracy, group_features, predict_groups
from cmrlib.papers.sslhf.learning import (
    Recipe,
    Setup,
    classification_learner,
    classification_rows,
    classify,
    pretrain,
    restoration_learner,
    restoration_rows,
)
from cmrlib.papers.sslhf.network import Classifier, Design, Restorer, weighted_bce
from cmrlib.papers.sslhf.patches import (
    Patches,
    Preprocessing,
    labelled,
    lv_slices,
    patch_table,
    patient_split,
    section_patch,
)
from cmrlib.papers.sslhf.pictures import moments, restored_pictures, transformed_pictures
from cmrlib.papers.sslhf.prediction import (
    HeartFailure,
    auc,
    by_patient,
    restoration_errors,
    restoration_metrics,
    restoration_table,
    score_patches,
)
from cmrlib.papers.sslhf.study import (
    LEARNED,
    METHODS,
    PAPER,
    ablations_by_labels,
    ablations_metrics,
    few_labels_metrics,
    few_labels_table,
    mean_roc,
    paired_table,
    study_metrics,
    study_table,
    tested,
    tested_by_ef,
    train_ahead,
    train_method,
)
from cmrlib.papers.sslhf.transformations import KINDS, Transformations, neighbour_average

__all__ = [
    "COMPARATORS",
    "KINDS",
    "LEARNED",
    "METHODS",
    "PAPER",
    "Classifier",
    "DenseNet121",
    "Design",
    "HeartFailure",
    "Patches",
    "Preprocessing",
    "Recipe",
    "ResNet50",
    "Restorer",
    "Setup",
    "Transformations",
    "ablations_by_labels",
    "ablations_metrics",
    "architecture",
    "attributions",
    "auc",
    "build",
    "by_patient",
    "classification_learner",
    "classification_rows",
    "classify",
    "ef_classes",
    "few_labels_metrics",
    "few_labels_table",
    "group_accuracy",
    "group_features",
    "known_ef",
    "labelled",
    "lv_slices",
    "mean_roc",
    "measured_by_network",
    "moments",
    "neighbour_average",
    "paired_table",
    "patch_table",
    "patient_split",
    "pick_cases",
    "predict_groups",
    "pretrain",
    "restoration_errors",
    "restoration_learner",
    "restoration_metrics",
    "restoration_rows",
    "restoration_table",
    "restored_pictures",
    "score_patches",
    "section_patch",
    "study_metrics",
    "study_table",
    "tested",
    "tested_by_ef",
    "train_ahead",
    "train_method",
    "transformed_pictures",
    "weighted_bce",
]
