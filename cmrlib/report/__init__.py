"""One study, one page: what was found, how the heart moves, every measure beside its range and its model's error.

    make_report("FOLDER_OF_DICOM", "report.html", weights=["runs/acdc", "runs/full", "real"])

The page needs no network, says what the weights learned from and by whom they err, has scores where weights for them
are given, and prints no measure whose error on real hearts is more than twice what two people differ by. Research only.
Names, dates and UIDs of the source never reach it.
"""

from cmrlib.report.errors import known_errors
from cmrlib.report.page import make_report, render
from cmrlib.report.reference import HUMAN_SD, RANGES, refused
from cmrlib.report.study import Findings, examine

__all__ = ["HUMAN_SD", "RANGES", "Findings", "examine", "known_errors", "make_report", "refused", "render"]
