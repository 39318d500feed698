"""Headers that are walked say what pydicom says, or are left to pydicom; so do pixels that are read where they lie."""

import io
import os
import struct
import tarfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import trees
from corpus import DEFECTS, build
from corpus.source import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrlib.datasets import dicom, header, images
from cmrlib.datasets.header import header_of, number, parsed, quiet, text, values_of, walked, words
from cmrlib.phantom import make_orders, make_study

DATA = Path(os.environ.get("CMR_DATA_DIR") or "/nonexistent")


@pytest.fixture(scope="module")
def study():
    (order,) = make_orders(1, frames=3, size=32, spacing_mm=6.0, slices=5, subslices=1, views=("sax", "4ch")).values()
    return make_study("P0001", order)


def same(content: bytes) -> bool:
    """Whether a file was walked; raises AssertionError where the walk and pydicom differ."""
    with quiet():
        found = walked(content)
        if found is None:
            return False
        ours, start, length = found
        data = pydicom.dcmread(io.BytesIO(content))
        theirs = header_of(data)
    assert {key: value for key, value in theirs.items() if value not in (None, "")} == {
        key: value for key, value in ours.items() if value != ""
    }
    assert content[start : start + length] == data.PixelData
    return True


def same_pixels(content: bytes) -> bool:
    """Whether a file's pixels were read where they lie; raises AssertionError where pydicom reads others."""
    with quiet():
        file = parsed(content)
        image = images._native(file.header, file.stored, None)
        if image is None:
            return False
        theirs = pydicom.dcmread(io.BytesIO(content)).pixel_array
    np.testing.assert_array_equal(image, theirs)
    assert image.dtype == theirs.dtype
    return True


@pytest.mark.parametrize("name", ["", *sorted(name for name, one in DEFECTS.items() if "dicom" in one.kinds)])
def test_the_walk_says_what_pydicom_says(study, name):
    contents = [
        encode(file)
        for file in build(study, 1, "dicom", [name] if name else []).files
        if isinstance(file.content, pydicom.Dataset)
    ]
    done = [same(content) for content in contents]
    pixels = [same_pixels(content) for content in contents]
    assert name or (all(done) and all(pixels))  # an ordinary file is always walked


@pytest.mark.skipif(not DATA.is_dir(), reason="no real data: CMR_DATA_DIR names no folder")
def test_real_files_are_walked():
    contents = [path.read_bytes() for path in sorted((DATA / "mvnet_sample").rglob("*")) if path.is_file()][::6]
    with tarfile.open(DATA / "sunnybrook" / "dicom" / "SCD0000301.tar.xz") as archive:
        contents += [archive.extractfile(member).read() for member in archive if member.isfile()][::20]
    assert len(contents) >= 20 and all(same(content) and same_pixels(content) for content in contents)


def one_file(tmp_path, **tags) -> bytes:
    trees.write_dicom(tmp_path / "one", trees.image(0, 0), **tags)
    return (tmp_path / "one").read_bytes()


def test_implicit_files_are_walked_too(tmp_path):
    data = pydicom.dcmread(
        io.BytesIO(one_file(tmp_path, TriggerTime=40.0, RequestAttributesSequence=[pydicom.Dataset()]))
    )
    data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    data.save_as(out := io.BytesIO(), implicit_vr=True, little_endian=True)
    assert same(out.getvalue()) and same_pixels(out.getvalue())


@pytest.mark.parametrize(
    "change",
    [
        {"SeriesDescription": "Grün"},
        {"Rows": [12, 12]},
        {"NumberOfFrames": 2},
    ],
)
def test_what_is_unusual_is_left_to_pydicom(tmp_path, change):
    tags = change | ({"SpecificCharacterSet": "ISO_IR 192"} if "SeriesDescription" in change else {})
    content = one_file(tmp_path, **tags)
    assert walked(content) is None
    with quiet():
        found = parsed(content)
    assert found.data is not None and (text(found.header, "SeriesDescription") or "Grün") == "Grün"


def test_lengths_beyond_the_end_and_tags_out_of_order_are_left_to_pydicom(tmp_path):
    content = one_file(tmp_path)
    start, length = walked(content)[1:]
    assert walked(content[:-1]) is None and walked(content[: start - 4]) is None and length == 240
    spot = content.index(struct.pack("<HH2s", 0x0028, 0x0010, b"US"))
    swapped = content[: spot + 2] + b"\x02\x00" + content[spot + 4 :]  # (0028,0002) twice
    assert walked(swapped) is None


@pytest.mark.parametrize("depth", [1, 300])
def test_long_sequences_are_left_to_pydicom(tmp_path, depth):
    trees.write_cine(tmp_path, frames=3)
    nested = b""
    for _ in range(depth):
        nested = struct.pack("<HHL", 0xFFFE, 0xE000, len(nested)) + nested
        nested = struct.pack("<HH2sHL", 0x7FD1, 0x1001, b"SQ", 0, len(nested)) + nested
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        start = walked(content)[1] - 12  # the pixels' tag, kind and length
        path.write_bytes(content[:start] + nested + content[start:])
        assert (walked(path.read_bytes()) is None) == (depth > 1)
    (cine,) = dicom.read("s1", tmp_path).cines
    assert cine.pixels[:, 0, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("bits", "value", "read"), [(12, 4095, True), (12, 4096, False), (16, 65535, True)])
def test_bits_that_are_not_in_use_are_left_to_pydicom(tmp_path, bits, value, read):
    pixels = trees.image(0, 0)
    pixels[3, 3] = value
    trees.write_dicom(tmp_path / "one", pixels, BitsStored=bits, HighBit=bits - 1)
    assert same_pixels((tmp_path / "one").read_bytes()) is read


def test_signed_bits_that_are_not_in_use_are_left_to_pydicom(tmp_path):
    for lowest, read in ((-2048, True), (-2049, False)):
        trees.write_dicom(tmp_path / "one", np.full((4, 4), lowest, np.int16), BitsStored=12, HighBit=11)
        assert same_pixels((tmp_path / "one").read_bytes()) is read


@settings(max_examples=60, derandomize=True, deadline=None)
@given(at=st.floats(0, 1), value=st.integers(0, 255))
def test_damaged_headers_are_read_alike_or_left_to_pydicom(study, at, value):
    content = bytearray(encode(build(study, 1, "dicom").files[0]))
    content[132 + int(at * (len(content) - 2048 - 133))] = value
    try:
        same(bytes(content))
    except AssertionError:
        raise
    except Exception:  # pydicom cannot read it at all: nor may we
        assert walked(bytes(content)) is None


def test_values_of_a_header():
    values = {"A": "x", "B": ("a", "b"), "C": 3, "D": None, "E": "12", "F": ("1", "x"), "G": ("1", "2")}
    assert [values_of(values, key) for key in "ABCDEZ"] == [("x",), ("a", "b"), (3,), (), ("12",), ()]
    assert words(values, "B") == ["A", "B"] and text(values, "D") == text(values, "Z") == ""
    assert [number(values, key) for key in "CE"] == [3, 12] and np.isnan([number(values, key) for key in "ABDZ"]).all()
    assert header.vector(values_of(values, "F"), 2) is None and header.vector(values_of(values, "E"), 2) is None
    np.testing.assert_array_equal(header.vector(values_of(values, "G"), 2), [1, 2])
