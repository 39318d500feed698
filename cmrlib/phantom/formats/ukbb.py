"""UK Biobank's zips, fields 20208 (long axis) and 20209 (short axis), as public code describes them.

No real sample was read: names and quirks follow ukbb_cardiac and Heart_Pipeline. Participants' numbers here start at
9000000, above any that UK Biobank gave out.
"""

from cmrlib.cohort.study import Study
from cmrlib.phantom.formats import dicom
from cmrlib.phantom.formats.source import File

FIELDS = {True: 20209, False: 20208}
HEADER = "filename,patientid,date,series discription"
"""The misspelling is the real column's name."""

WORDS = {
    "sax": "CINE_segmented_SAX_b{}",
    "4ch": "CINE_segmented_LAX_4Ch",
    "2ch": "CINE_segmented_LAX_2Ch",
    "3ch": "CINE_segmented_LAX_3Ch",
}


def zips(study: Study, seed: int) -> list[File]:
    """`EID_FIELD_2_0.zip` for long and short axis: DICOM files side by side, and manifest.csv."""
    label = study.participant["participant_id"]
    participant = 9_000_000 + int("".join(filter(str.isdigit, label)))
    views, files, lines = {cine.name: cine.view for cine in study.cines}, [], {True: [HEADER], False: [HEADER]}
    for number, file in enumerate(dicom.classic(study, seed), 1):
        view = views[file.cine]
        short = view == "sax"
        description = WORDS[view].format(file.k + 1)
        file.content.SeriesDescription = description
        name = f"{file.content.SOPInstanceUID[-12:]}{number:05d}.dcm"
        file.path = f"{archive(participant, short)}/{name}"
        files.append(file)
        lines[short].append(f"{name},{participant},2016-01-03,{description}")
    for short in sorted({views[file.cine] == "sax" for file in files}):
        files.append(File(f"{archive(participant, short)}/manifest.csv", "\n".join(lines[short]) + "\n"))
    return files


def archive(participant: int, short: bool) -> str:
    return f"{participant}_{FIELDS[short]}_2_0.zip"
