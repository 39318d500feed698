"""A file's header as plain values, and its pixels: what is there, what is damaged, and who is no DICOM file."""

import io

import numpy as np
import pydicom
import pytest
import trees

from cmrlib.datasets import decoding, header, images
from cmrlib.datasets.header import PIXELS, number, parsed, text, values_of, words

TAGS = {"TriggerTime": 40.0, "ImageType": ["ORIGINAL", "PRIMARY"], "SeriesDescription": "cine_sax"}
TAGS |= {"BitsStored": 12, "HighBit": 11}


def one_file(tmp_path, pixels=None, **tags) -> bytes:
    trees.write_dicom(tmp_path / "one", trees.image(0, 0) if pixels is None else pixels, **TAGS | tags)
    return (tmp_path / "one").read_bytes()


def saved(data, syntax) -> bytes:
    data.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    data.save_as(out, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    return out.getvalue()


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "ExplicitVRLittleEndian"])
def test_a_file_by_hand(tmp_path, syntax):
    content = saved(pydicom.dcmread(io.BytesIO(one_file(tmp_path))), getattr(pydicom.uid, syntax))
    found = parsed(content).header
    assert text(found, "TransferSyntaxUID") == getattr(pydicom.uid, syntax) and found[PIXELS]
    assert number(found, "TriggerTime") == 40 and words(found, "ImageType") == ["ORIGINAL", "PRIMARY"]
    assert text(found, "SeriesDescription") == "cine_sax" and (found["Rows"], found["Columns"]) == (12, 10)
    assert header.vector(values_of(found, "PixelSpacing"), 2).tolist() == [1.5, 1.25]
    frame = images.frame_of(parsed(content), "mark")
    np.testing.assert_array_equal(decoding.pixels(frame), trees.image(0, 0))
    assert frame.source.file.data is None  # the bytes are released


def test_what_a_header_says_of_the_patient(tmp_path):
    said = {"PatientAge": "063Y", "PatientSex": "F", "PatientSize": "1.7", "PatientWeight": "0"}
    found = images.participant(parsed(one_file(tmp_path, **said)).header)
    assert found == {"sex": "F", "age": 63, "height_m": 1.7, "weight_kg": None, "group": None}


def test_a_deflated_file_is_refused(tmp_path):
    content = saved(pydicom.dcmread(io.BytesIO(one_file(tmp_path))), pydicom.uid.DeflatedExplicitVRLittleEndian)
    with pytest.raises(header.Refused, match="MiB"):
        parsed(content)


def test_values_of_a_header():
    values = {"A": "x", "B": ("a", "b"), "C": 3, "D": None, "E": "12", "F": ("1", "x"), "G": ("1", "2")}
    assert [values_of(values, key) for key in "ABCDEZ"] == [("x",), ("a", "b"), (3,), (), ("12",), ()]
    assert words(values, "B") == ["A", "B"] and text(values, "D") == text(values, "Z") == ""
    assert [number(values, key) for key in "CE"] == [3, 12] and np.isnan([number(values, key) for key in "ABDZ"]).all()
    assert header.vector(values_of(values, "F"), 2) is None and header.vector(values_of(values, "E"), 2) is None
    np.testing.assert_array_equal(header.vector(values_of(values, "G"), 2), [1, 2])
