"""Statistics between observers: DataFrame in, DataFrame out, one row per result.

Every estimate has its 95 % interval in `_low` and `_high` beside it, and its n; what is undefined is NaN with the
reason in `note`. Columns have the unit of the ratings unless their name says another. Rows that miss a rating are left
out and counted (`n_missing`; between observers also by reason, `left_out`); ratings entered twice are refused.
"""

from cmrlib.agreement.areas import compared_auc, holm, mean_auc
from cmrlib.agreement.classification import choose_threshold, classification, roc_auc, roc_pr
from cmrlib.agreement.confidence import (
    calibration_curve,
    calibration_error,
    calibration_tables,
    error_by_confidence,
    expected_dice,
)
from cmrlib.agreement.differences import bland_altman, regression, repeatability
from cmrlib.agreement.observers import (
    HEADLINE,
    changes,
    compare,
    headline,
    left_out,
    observer_pairs,
    paired_ratings,
    precision_metrics,
    scan_rescan,
)
from cmrlib.agreement.ranks import paired_test, rank_correlation, unpaired_test
from cmrlib.agreement.reliability import icc, icc_a1
from cmrlib.agreement.resampling import bootstrap
from cmrlib.agreement.summary import error_by_subgroup, example_cases, table_one, with_intervals
