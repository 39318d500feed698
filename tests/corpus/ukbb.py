"""UK Biobank's zips, fields 20208 (long axis) and 20209 (short axis), as public code describes them, and their defects.

No real sample was read: names and quirks follow ukbb_cardiac and Heart_Pipeline. Participants' numbers here start at
9000000, above any that UK Biobank gave out.
"""

from cmrlib.cohort.study import Study
from corpus import dicom
from corpus.registry import all_cines, defect
from corpus.source import File

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
    participant = 9_000_000 + int("".join(filter(str.isdigit, study.participant["participant_id"])))
    views, files, manifests = {cine.name: cine.view for cine in study.cines}, dicom.classic(study, seed), {}
    for number, file in enumerate(files, 1):
        view = views[file.cine]
        file.content.SeriesDescription = WORDS[view].format(file.k + 1)
        archive = f"{participant}_{20209 if view == 'sax' else 20208}_2_0.zip"
        name = f"{file.content.SOPInstanceUID[-12:]}{number:05d}.dcm"
        file.path = f"{archive}/{name}"
        line = f"{name},{participant},2016-01-03,{file.content.SeriesDescription}"
        manifests.setdefault(archive, [HEADER]).append(line)
    return files + [File(f"{name}/manifest.csv", "\n".join(lines) + "\n") for name, lines in sorted(manifests.items())]


def _manifests(source, old="", new="") -> list[File]:
    """The manifests, with some of their text replaced."""
    files = [file for file in source.files if "/manifest." in file.path]
    for file in files:
        file.content = file.content.replace(old, new) if old else file.content
    return files


def _rename(source, old, new):
    for file in source.files:
        file.path = file.path.replace(old, new)


def _mixed_series(source):
    """All long-axis views are called CINE_segmented_LAX, in headers and manifest."""
    for name in (WORDS[view] for view in ("4ch", "2ch", "3ch")):
        _manifests(source, name, "CINE_segmented_LAX")
        for file in source.images():
            file.content.SeriesDescription = file.content.SeriesDescription.replace(name, "CINE_segmented_LAX")


def _lists_more(source):
    for file in _manifests(source):
        file.content += file.content.splitlines()[-1].replace(".dcm", "9.dcm") + "\n"


def _member(source, name, content, refuse):
    archive = source.files[0].path.partition(".zip/")[0]
    source.files.append(File(f"{archive}.zip/{name}", content, refuse=refuse))


for name, expectation, words, change in (
    ("manifest_called_cvs", "read", "", lambda source: _rename(source, "manifest.csv", "manifest.cvs")),
    ("manifest_absent", "read", "", lambda source: source.remove(_manifests(source))),
    ("manifest_lists_more", "flag", "manifest", _lists_more),
    ("manifest_of_mixed_series", "read", "", _mixed_series),
    ("repeat_visit", "read", "", lambda source: _rename(source, "_2_0.zip", "_3_0.zip")),
    ("zip_climbs_out", "read", "", lambda source: _member(source, "../../climbed.dcm", b"MARKED", "path")),
    ("zip_bomb", "read", "", lambda source: _member(source, "bomb.dcm", b"\0" * 20_000_000, "size")),
):
    defect("ukbb", expectation, words, name=name)(all_cines(change))
