"""Fuzzing: damaged headers and bytes of valid DICOM and NIfTI end as a cine that is right or flagged, or as a reason.

`make fuzz MINUTES=30` runs it longer, with new damage each time; the tests run the same few examples every time.
"""

import gzip
import io
import logging
import os
import signal
from contextlib import contextmanager

import numpy as np
import pydicom
import pytest
from corpus import build
from corpus.source import encode, quiet, sha, write_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmrlib.datasets import acdc, dicom
from cmrlib.phantom import make_study, subject_specs

MINUTES = float(os.environ.get("FUZZ_MINUTES") or 0)
HANG_S = 60
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # it speaks of every odd header
FEW = settings(
    max_examples=int(MINUTES * 20) or 20,
    derandomize=not MINUTES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
"""About so many examples fit into a seventh of the minutes: there are seven tests, three of them of two formats."""

TEXTS = [
    *("", "0", "-1", "nan", "inf", "1e308", "1e-308", "99999999999999999999", "\x00", "é", "x" * 70, "../..", "MARKED"),
    *(r"1\2", r"1\2\3", r"0\0\0", r"1\0\0\1\0\0", r"0.3\0.3", r"DERIVED\SECONDARY"),
]
PLACES = [
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("TriggerTime", "InstanceNumber"),
]
OTHERS = [
    *("CardiacNumberOfImages", "NominalInterval", "HeartRate", "Rows", "Columns", "BitsStored", "BitsAllocated"),
    *("SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "PatientID", "ImageType", "NumberOfFrames"),
    *("SamplesPerPixel", "PixelRepresentation", "AcquisitionTime", "TransferSyntaxUID"),
]


class Hangs(BaseException):
    """No Exception: readers turn those into reasons."""


@contextmanager
def no_hang():
    """What takes a minute hangs."""

    def stop(*_):
        raise Hangs(f"no answer in {HANG_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def study():
    (spec,) = subject_specs(1, frames=5, size=32, spacing_mm=6.0, slices=3, subslices=1, views=("sax", "4ch")).values()
    return make_study("P0001", spec)


class Place:
    """A source on disk whose files are damaged one example at a time."""

    def __init__(self, folder, study, form):
        self.source = build(study, 1, form)
        write_files(folder, self.source.files)
        self.files = [(folder / file.path, encode(file), file) for file in self.source.files]
        self.root = folder / self.source.folder

    def pick(self, n: int) -> int:
        """A file's number; every other time one of a first frame, which stands for its slice."""
        first = [number for number, (*_, file) in enumerate(self.files) if file.t <= 0]
        return first[n // 2 % len(first)] if n % 2 else n // 2 % len(self.files)

    @contextmanager
    def damaged(self, changes: dict):
        """changes: file number → bytes; afterwards all is as it was."""
        for n, content in changes.items():
            self.files[n][0].write_bytes(content)
        try:
            yield self.root
        finally:
            for n in changes:
                self.files[n][0].write_bytes(self.files[n][1])


@pytest.fixture(scope="module", params=["dicom", "dicom-enhanced"])
def place(request, study, tmp_path_factory):
    return Place(tmp_path_factory.mktemp("fuzz"), study, request.param)


def edited(content: bytes, keyword: str, text: str) -> bytes | None:
    """A file with another header value, written as it stands whatever the standard says; None where it cannot be."""
    with quiet():
        data = pydicom.dcmread(io.BytesIO(content))
        try:
            where = data.file_meta if keyword == "TransferSyntaxUID" else data
            element = where.get(keyword) if keyword in where else None
            if text.startswith("*"):  # of what stands there
                numbers = np.ravel(np.array(element, float)) * float(text[1:])
                text = "\\".join(f"{number:.6g}" for number in numbers)
            if element is None:
                setattr(where, keyword, text)
            elif isinstance(element, int):
                setattr(where, keyword, abs(int(float(text or 0))) % 65536 if text not in ("nan", "inf") else 0)
            else:
                where[keyword].value = text.split("\\") if "\\" in text else text
            data.save_as(out := io.BytesIO())
        except Exception:
            return None
        return out.getvalue()


def bitten(content: bytes, bites) -> bytes:
    """Bytes with bites: (kind, place in 0…1, byte)."""
    content = bytearray(content)
    for kind, share, value in bites:
        at = int(share * (len(content) - 1)) if len(content) > 1 else 0
        if kind == "set" and content:
            content[at] = value
        elif kind == "insert":
            content[at:at] = bytes([value]) * (1 + value % 9)
        elif kind == "delete":
            del content[at : at + 1 + value % 9]
        elif kind == "cut":
            del content[at:]
    return bytes(content)


BITES = st.lists(
    st.tuples(st.sampled_from(["set", "set", "set", "insert", "delete", "cut"]), st.floats(0, 1), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)
SCALES = ["*0.5", "*0.98", "*1.02", "*1.2", "*2", "*-1"]
VALUES = st.one_of(
    st.sampled_from(SCALES),
    st.sampled_from(TEXTS),
    st.floats(-1e4, 1e4, width=32).map(str),
    st.lists(st.floats(-500, 500, width=32), min_size=2, max_size=6).map(lambda numbers: "\\".join(map(str, numbers))),
)


def read_dicom(root):
    """What the reader makes of a folder; it may refuse the subject, in our words."""
    try:
        with no_hang():
            return dicom.read("P0001", root)
    except ValueError as error:
        assert str(error).startswith("sub-P0001"), error
        return None


def check(place, study, changed: set[int]):
    """Every file is in a cine or has a reason; where nothing is flagged or refused, nothing is wrong either."""
    if study is None:
        return
    assert all(row["reason"] and "MARKED" not in row["reason"] for row in study.rejected)
    used = sum(cine.frames * cine.slices - len(cine.meta.get("missing", ())) for cine in study.cines)
    if place.source.files[0].t >= 0:  # classic: a file a frame
        assert used + len(study.rejected) == len(place.files), (used, study.rejected)
    if study.rejected or {flag for cine in study.cines for flag in cine.flags} - {"coverage_short"}:  # of three slices
        return
    strange = {(place.files[n][2].cine, place.files[n][2].k, place.files[n][2].t) for n in changed}
    found = {cine.view: cine for cine in study.cines}
    for name, true in place.source.cines.items():
        _check_cine(found[true["view"]], name, true, strange)


def _check_cine(cine, name, true, strange):
    """Slices by their places: pixels of undamaged frames, distances, spacing and times are the truth's."""
    assert cine.spacing_mm[1:] == pytest.approx(true["spacing_mm"], abs=0.01)
    for one in true["slices"]:
        away = [np.linalg.norm(cine.to_world([(0, 0)], k)[0] - one["position_mm"]) for k in range(cine.slices)]
        k = int(np.argmin(away))
        assert away[k] < 0.5, f"slice {one['slice']} lies {away[k]:.2f} mm away"
        step = one["rr_ms"] / cine.frames
        for t, image in enumerate(one["sha256"]):
            damaged = {(name, one["slice"], t), (name, -1, -1)} & strange
            assert damaged or sha(cine.pixels[t, k]) == image, f"slice {one['slice']}, frame {t}: another image"
            assert abs(cine.frame_times_ms[k, t] - one["frame_times_ms"][t]) < 0.3 * step


NUMBER = st.integers(0, 999)
KEYWORD = st.one_of(st.sampled_from(PLACES), st.sampled_from(PLACES + OTHERS))


@FEW
@given(n=NUMBER, keyword=KEYWORD, value=VALUES)
def test_damaged_headers_of_one_file(place, n, keyword, value):
    n = place.pick(n)
    new = edited(place.files[n][1], keyword, value)
    if new is not None:
        with place.damaged({n: new}) as root:
            check(place, read_dicom(root), {n})


@FEW
@given(keyword=KEYWORD, value=VALUES)
def test_damaged_headers_of_all_files(place, keyword, value):
    new = {n: edited(content, keyword, value) for n, (_, content, _) in enumerate(place.files)}
    with place.damaged({n: content for n, content in new.items() if content is not None}) as root:
        study = read_dicom(root)
        for cine in study.cines if study else ():
            assert np.isfinite(cine.affine).all() and cine.pixels.shape[2:] == (32, 32)
            assert not cine.spacing_known or 0.1 < min(cine.spacing_mm[1:]) < 20


@FEW
@given(bites=st.dictionaries(NUMBER, BITES, min_size=1, max_size=3))
def test_damaged_bytes(place, bites):
    new = {n % len(place.files): bitten(place.files[n % len(place.files)][1], some) for n, some in bites.items()}
    with place.damaged(new) as root:
        check(place, read_dicom(root), set(new))


@pytest.fixture(scope="module")
def patient(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("acdc")
    source = build(study, 1, "acdc")
    write_files(folder, source.files)
    return folder / source.folder


@FEW
@given(n=NUMBER, bites=BITES, part=st.sampled_from(["packed", "header", "whole"]))
def test_damaged_nifti(patient, n, bites, part):
    files = sorted(path for path in patient.iterdir() if path.is_file())
    path = files[n % len(files)]
    content = path.read_bytes()
    if path.suffix != ".gz" or part == "packed":
        new = bitten(content, bites)
    else:
        inner = gzip.decompress(content)
        length = 352 if part == "header" else len(inner)
        new = gzip.compress(bitten(inner[:length], bites) + inner[length:], 1)
    try:
        path.write_bytes(new)
        with no_hang():
            made = acdc.read("patient001", patient)
    except ValueError:
        pass  # a reason for rejected.tsv; whatever else it raises is a fault of ours
    else:
        for cine in made.cines:
            assert np.isfinite(cine.affine).all()
    finally:
        path.write_bytes(content)
