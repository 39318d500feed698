"""What is known to trip software that reads cardiac MRI, row by row, and what covers each row.

Rows 1a (DICOM), 1b (UK Biobank) and 1c (NIfTI sets) were collected from public repositories, issue threads and papers;
rows r are what a reader of clinical data must survive. A defect names its rows; `BY_FORMAT` names rows that every
clean file of a format shows, `NOT_COVERED` those that the phantom leaves out, and why.
"""

import pandas as pd

from cmrlib.phantom.formats.registry import DEFECTS

ROWS = {
    "1a-1": "every file has a series UID of its own, numbers and dates are empty (MVnet sample)",
    "1a-2": "no SeriesInstanceUID (Kaggle DSB)",
    "1a-3": "several series in a slice's folder: the breath-hold was repeated",
    "1a-4": "the repeat's number stands in the file name only (IM-0001-0005-0002.dcm)",
    "1a-5": "slices reversed, not parallel, of another matrix, localisers among them",
    "1a-6": "slice order from folder numbers",
    "1a-7": "first slice far out, gaps, slice spacing of zero",
    "1a-8": "black or corrupt patients, other frame counts in other views, few slices, views missing",
    "1a-9": "fewer files than CardiacNumberOfImages",
    "1a-10": "one mixed series of all short or all long axes",
    "1a-11": "TriggerTime is no trigger time",
    "1a-12": "a 4-D cine split into 3-D files",
    "1a-13": "instance numbers random, repeated; files missing or twice",
    "1a-14": "frame step taken from RepetitionTime; RR differs between views",
    "1a-15": "frame step taken from the first two frames of the last slice",
    "1a-16": "enhanced multi-frame: geometry in functional groups, repeated positions, nothing at the top level",
    "1a-17": "a stack of a single slice crashes",
    "1a-18": "slice increments that vary by rounding are refused",
    "1a-19": "DICOM SEG of a cine is impossible",
    "1a-20": "compressed pixels: no decoder, or one that returns zeros",
    "1a-21": "ages in years, months, weeks, or empty",
    "1a-22": "hostile or malformed files: nested sequences, pixels in a sequence item",
    "1a-23": "enormous numbers of files",
    "1b-1": "zips with misspelt or broken manifests",
    "1b-2": "seven-digit participant numbers in names",
    "1b-3": "cvi42 contours: rasterised too large, open",
    "1b-4": "quality gates in use: pixels a class, slices with LV, gaps",
    "1b-5": "ED hard-coded as the first frame",
    "1c-1": "ACDC: sform against qform",
    "1c-2": "label order 1 RV or 1 LV",
    "1c-3": "ACDC: frames count from 1, ED is not always the first, patient090",
    "1c-4": "ACDC: group RV or ARV",
    "1c-5": "unzip's bomb guard trips over ACDC's zip",
    "1c-6": "M&Ms: masks without labels, height and weight missing",
    "1c-7": "M&Ms-2: split by order, classes absent from training, .rar",
    "1c-8": "Sunnybrook: series from a hand-made table, contours by image number, outer contours missing",
    "1c-9": "NIfTI time unit unknown or wrong, step 0",
    "1c-10": "rule of thumb for unknown time units; heart rate must be possible",
    "1c-11": "4-D axes in another order, flipped or sheared affines",
    "r-1": "frames out of order",
    "r-2": "a frame missing",
    "r-3": "a slice acquired twice",
    "r-4": "two matrix sizes, rotations or places in a stack",
    "r-5": "RR differs between series",
    "r-6": "first trigger time absent or zero",
    "r-7": "constant trigger times",
    "r-8": "truncated, empty, padded or foreign files among good ones",
    "r-9": "no pixel data",
    "r-10": "a compressed syntax with and without its decoder",
    "r-11": "a decoder that returns a constant image",
    "r-12": "big-endian",
    "r-13": "signed, rescaled, inverted, floating-point pixels",
    "r-14": "12 bits in 16",
    "r-15": "NaN pixels",
    "r-16": "300 nested sequences",
    "r-17": "NIfTI of unknown units",
    "r-18": "sform against qform, or neither",
    "r-19": "singular affine",
    "r-20": "3-D where 4-D is needed",
    "r-21": "gzip cut short or damaged",
    "r-22": "ACDC without Info.cfg, or one that other systems wrote",
    "r-23": "ACDC without ED",
    "r-24": "a mask of another shape",
    "r-25": "a label outside the codes",
    "r-26": "ACDC patient 090",
    "r-27": "contours that belong to nobody, leave the image, have two points",
    "r-28": "the same subject twice",
    "r-29": "spacing zero, negative or absent",
    "r-30": "names with spaces, accents, 300 characters; files of the system",
    "r-31": "links in a circle",
    "r-32": "a zip path that climbs out",
    "r-33": "a zip bomb",
    "r-34": "manifests: dates with commas, names misspelt",
    "r-35": "several series of one view",
    "r-36": "mixed or misnamed long-axis series",
    "r-37": "other images of the examination: localiser, flow, late enhancement, perfusion, maps, derived",
    "r-38": "several studies side by side",
}

BY_FORMAT = {
    "1a-12": "nifti-3d",
    "1a-14": "dicom",
    "1a-16": "dicom-enhanced",
    "1a-17": "dicom",
    "1b-1": "ukbb",
    "1b-2": "ukbb",
    "1b-5": "dicom",
    "1c-2": "acdc",
    "1c-3": "acdc",
    "r-12": "dicom-big-endian",
}
"""Rows that the format itself shows, without any defect."""

NOT_COVERED = {
    "1a-19": "about writing segmentations, not about reading",
    "1a-23": "a matter of size: any number of subjects can be written",
    "1b-3": "contours of a commercial program; their format is not public",
    "1b-4": "about segmentations, not about files",
    "1c-7": "about how a set was split and packed; its files are NIfTI like the others",
    "1c-8": "links between people's contours and one set's images; made by hand in the readers' tests",
    "r-27": "contours are Sunnybrook's; made by hand in the readers' tests",
}


def coverage() -> pd.DataFrame:
    """A row of the notes a row: row, what, defects (names), format, reason why not covered."""
    return pd.DataFrame(
        [
            {
                "row": row,
                "what": what,
                "defects": " ".join(sorted(n for n, d in DEFECTS.items() if row in d.rows)),
                "format": BY_FORMAT.get(row, ""),
                "not_covered": NOT_COVERED.get(row, ""),
            }
            for row, what in ROWS.items()
        ]
    )
