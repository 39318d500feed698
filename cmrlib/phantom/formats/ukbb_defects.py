"""Defects of UK Biobank's zips: manifests, members that are none, archives that attack."""

from cmrlib.phantom.formats.registry import defect
from cmrlib.phantom.formats.source import File
from cmrlib.phantom.formats.ukbb import HEADER

BOMB_BYTES = 20_000_000


def _manifests(source) -> list[File]:
    return [file for file in source.files if file.path.endswith(("manifest.csv", "manifest.cvs"))]


@defect("ukbb", "read", rows="1b-1 r-34")
def manifest_called_cvs(source, rng):
    """The manifest is called manifest.cvs."""
    for file in _manifests(source):
        file.path = file.path.replace("manifest.csv", "manifest.cvs")
    return source.cines


@defect("ukbb", "read", rows="1b-1 r-34")
def manifest_dates_with_commas(source, rng):
    """Dates are written Jan 3, 2016 without quotes: lines have one field too many."""
    for file in _manifests(source):
        file.content = file.content.replace("2016-01-03", "Jan 3, 2016")
    return source.cines


@defect("ukbb", "read", rows="1b-1 r-34")
def manifest_column_spelt_right(source, rng):
    """The column is called series description, without the usual misspelling."""
    for file in _manifests(source):
        file.content = file.content.replace(HEADER, HEADER.replace("discription", "description"))
    return source.cines


@defect("ukbb", "read", rows="1b-1 r-34")
def manifest_absent(source, rng):
    """There is no manifest."""
    source.remove(_manifests(source))
    return source.cines


@defect("ukbb", "flag", "manifest", rows="1b-1 r-34")
def manifest_lists_more(source, rng):
    """The manifest lists a file that is not in the zip."""
    for file in _manifests(source):
        last = file.content.splitlines()[-1]
        file.content += last.replace(".dcm", "9.dcm") + "\n"
    return source.cines


@defect("ukbb", "read", rows="1a-10 r-36")
def manifest_of_mixed_series(source, rng):
    """All long-axis views are called CINE_segmented_LAX, in headers and manifest."""
    names = {file.content.SeriesDescription for file in source.images() if "LAX" in file.content.SeriesDescription}
    for file in source.images():
        if file.content.SeriesDescription in names:
            file.content.SeriesDescription = "CINE_segmented_LAX"
    for file in _manifests(source):
        for name in names:
            file.content = file.content.replace(name, "CINE_segmented_LAX")
    return source.cines


@defect("ukbb", "read", rows="1b-1")
def repeat_visit(source, rng):
    """The zips are those of the repeat visit (_3_0)."""
    for file in source.files:
        file.path = file.path.replace("_2_0.zip", "_3_0.zip")
    return source.cines


@defect("ukbb", "flag", "missing_frames", rows="1a-9 1b-1")
def zip_lacks_a_file(source, rng):
    """A frame that the manifest lists is not in the zip."""
    cine = max(source.cines, key=lambda name: len(source.cines[name]["slices"]))
    file = source.images(cine)[1]
    source.lose(cine, file.k, file.t)
    source.remove([file])
    return [cine]


@defect("ukbb", "read", rows="1b-1 r-32")
def zip_climbs_out(source, rng):
    """A member's path leads out of the archive's folder."""
    archive = source.files[0].path.partition(".zip/")[0]
    source.files.append(File(f"{archive}.zip/../../climbed.dcm", b"MARKED", refuse="path"))
    return source.cines


@defect("ukbb", "read", rows="1c-5 r-33")
def zip_bomb(source, rng):
    """A member unpacks to a thousand times its size."""
    archive = source.files[0].path.partition(".zip/")[0]
    source.files.append(File(f"{archive}.zip/bomb.dcm", b"\0" * BOMB_BYTES, refuse="size"))
    return source.cines
