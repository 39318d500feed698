"""A file's header as plain values, and its pixels: what is there, what is damaged, and who is no DICOM file."""

import io
import struct

import numpy as np
import pydicom
import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrlib.datasets import dicom, header, images
from cmrlib.datasets.header import PIXELS, Refused, number, parsed, suppress_warnings, text, values_of, words

TAGS = {"TriggerTime": 40.0, "ImageType": ["ORIGINAL", "PRIMARY"], "SeriesDescription": "cine_sax", "BitsStored": 12}


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
    np.testing.assert_array_equal(images.pixels(frame), trees.image(0, 0))
    assert frame.source.file.data is None  # the bytes are released


def test_what_a_header_says_of_the_patient(tmp_path):
    said = {"PatientAge": "063Y", "PatientSex": "F", "PatientSize": "1.7", "PatientWeight": "600"}
    found = images.participant(parsed(one_file(tmp_path, **said)).header)
    assert found == {"sex": "F", "age": 63, "height_m": 1.7, "weight_kg": None, "group": None}  # 600 kg is no weight


def test_other_alphabets_and_missing_fields(tmp_path):
    found = parsed(one_file(tmp_path, SeriesDescription="Grün", SpecificCharacterSet="ISO_IR 192")).header
    assert text(found, "SeriesDescription") == "Grün" and text(found, "PatientAge") == ""


def test_a_damaged_value_is_absent(tmp_path):
    data = pydicom.dcmread(io.BytesIO(one_file(tmp_path)))
    with suppress_warnings():
        data.add_new("TriggerTime", "LO", "soon")
        data.add_new("Rows", "US", [12, 12])
        found = parsed(saved(data, pydicom.uid.ExplicitVRLittleEndian)).header
        assert np.isnan(number(found, "TriggerTime")) and np.isnan(number(found, "Rows"))


@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00\x00" + b"\0" * 400])
def test_what_is_no_dicom_file_is_refused(content):
    with suppress_warnings(), pytest.raises(Refused):
        parsed(content)


@pytest.mark.parametrize("depth", [1, 300])
def test_deep_sequences_cost_no_file(tmp_path, depth):
    trees.write_cine(tmp_path, frames=3)
    nested = b""
    for _ in range(depth):
        nested = struct.pack("<HHL", 0xFFFE, 0xE000, len(nested)) + nested
        nested = struct.pack("<HH2sHL", 0x7FD1, 0x1001, b"SQ", 0, len(nested)) + nested
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        start = content.rindex(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
        path.write_bytes(content[:start] + nested + content[start:])
    (cine,) = dicom.read("s1", tmp_path).cines
    assert cine.pixels[:, 0, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("kind", "value"), [(np.uint16, 4095), (np.int16, -2048)])
def test_grey_values_keep_their_kind(tmp_path, kind, value):
    image = np.full((4, 4), value, kind)
    with suppress_warnings():
        found = images.pixels(images.frame_of(parsed(one_file(tmp_path, image, HighBit=11)), "mark"))
    np.testing.assert_array_equal(found, image)
    assert found.dtype == kind


@settings(max_examples=60, derandomize=True, deadline=None)
@given(at=st.floats(0, 1), value=st.integers(0, 255))
def test_damaged_files_are_read_or_refused_with_a_reason(tmp_path_factory, at, value):
    content = bytearray(one_file(tmp_path_factory.mktemp("one")))
    content[132 + int(at * (len(content) - 133))] = value
    with suppress_warnings():
        try:
            images.pixels(images.frame_of(parsed(bytes(content)), "mark"))
        except Exception as error:
            assert len(images.reason(error)) > 10


def test_values_of_a_header():
    values = {"A": "x", "B": ("a", "b"), "C": 3, "D": None, "E": "12", "F": ("1", "x"), "G": ("1", "2")}
    assert [values_of(values, key) for key in "ABCDEZ"] == [("x",), ("a", "b"), (3,), (), ("12",), ()]
    assert words(values, "B") == ["A", "B"] and text(values, "D") == text(values, "Z") == ""
    assert [number(values, key) for key in "CE"] == [3, 12] and np.isnan([number(values, key) for key in "ABDZ"]).all()
    assert header.vector(values_of(values, "F"), 2) is None and header.vector(values_of(values, "E"), 2) is None
    np.testing.assert_array_equal(header.vector(values_of(values, "G"), 2), [1, 2])
