"""DICOM files that are damaged, compressed, or lie about how their pixels are stored."""

import copy
import zlib

import numpy as np
from corpus.missing_defects import CLOSING, OPENING
from corpus.registry import as_bytes
from corpus.source import File, encode
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from attacks import Attack
from attacks.bases import FOUR
from attacks.dicom import defect, each, tags


def bomb(place):
    """A deflated file of a few MB that unpacks to 4 GB of zeros."""
    file = place.source.images(FOUR, t=2)[0]
    meta = copy.deepcopy(file.content)
    meta.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    head = encode(File("", meta))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = head.index(DeflatedExplicitVRLittleEndian.encode()) + 24
    block = packer.compress(bytes(2**26)) + packer.flush(zlib.Z_FULL_FLUSH)
    length = 144 + int.from_bytes(head[140:144], "little")
    place.source.files.append(File(f"{place.source.folder}/bomb.dcm", head[: max(length, start)] + 64 * block))


def claims(rows, columns):
    def changed(file):
        file.content.compress(RLELossless, generate_instance_uid=False)
        file.content.Rows, file.content.Columns = rows, columns

    return each(changed, FOUR)


def other_syntax(uid):
    """The meta header says another transfer syntax; the rest of the file stays."""

    def changed(content):
        length = 144 + int.from_bytes(content[140:144], "little")
        at = content.index(b"\2\0\x10\0UI")
        end = at + 8 + int.from_bytes(content[at + 6 : at + 8], "little")
        value = uid.encode() + b"\0" * (len(uid) % 2)
        element = content[at : at + 6] + len(value).to_bytes(2, "little") + value
        size = (length - 144 - (end - at) + len(element)).to_bytes(4, "little")
        return content[:140] + size + content[144:at] + element + content[end:]

    return content_of(changed)


def length_of_pixels(content):
    at = content.index(b"\xe0\x7f\x10\0OW\0\0") + 8
    return content[:at] + b"\xff\xff\xff\x7f" + content[at + 4 :]


def compressed(syntax):
    return each(lambda file: file.content.compress(syntax, generate_instance_uid=False))


def deflated(file):
    file.content.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def content_of(change):
    """Change the bytes of one frame's file in the middle of the four-chamber."""

    def changed(place):
        file = place.source.images(FOUR, t=2)[0]
        file.content = change(as_bytes(file))

    return changed


SYNTAXES = {
    "deflated": ("", each(deflated)),
    "deflated_bomb": ("MiB", bomb),
    "rle": ("", defect("compressed_rle")),
    "jpeg_2000": ("", compressed(JPEG2000Lossless)),
    "rle_claims_30000_squared": ("more pixels", claims(30000, 30000)),
    "rle_claims_60_by_60": ("another size|damaged|decoded", claims(60, 60)),
    "unknown_syntax": ("syntax|decoded|1.2.3", other_syntax("1.2.3.4.5.6.7.8.9")),
    "says_big_endian": ("damaged|pixel|header", other_syntax("1.2.840.10008.1.2.2")),
    "says_jpeg_2000": ("compressed as|decoded|damaged", other_syntax("1.2.840.10008.1.2.4.90")),
    "says_implicit": ("damaged|pixel|header|DICOM", other_syntax("1.2.840.10008.1.2")),
    "no_decoder": ("compressed as", defect("no_decoder")),
}
DAMAGE = {
    "zeros_behind_the_header_200_MB": ("no pixel data", content_of(lambda b: b[:600] + bytes(200_000_000))),
    "cut_in_header": ("cut short|damaged|no pixel data", content_of(lambda b: b[:700])),
    "cut_in_pixels": ("cut short|damaged", content_of(lambda b: b[:-600])),
    "cut_in_meta": ("damaged|DICOM|header", content_of(lambda b: b[:200])),
    "preamble_only": ("DICOM|damaged|pixel", content_of(lambda b: b[:132])),
    "empty": ("empty|DICOM", content_of(lambda b: b"")),
    "one_byte": ("DICOM", content_of(lambda b: b[:1])),
    "noise": ("DICOM|damaged", content_of(lambda b: np.random.default_rng(1).bytes(len(b)))),
    "zeros": ("DICOM|damaged", content_of(lambda b: bytes(len(b)))),
    "no_preamble": ("", defect("no_preamble")),
    "padded": ("", defect("bytes_behind_the_end")),
    "nested_300": ("missing_frames", content_of(lambda b: b + OPENING * 300 + CLOSING * 300)),
    "text_for_dicom": ("DICOM", content_of(lambda b: b"<html>login first</html>" * 9)),
    "length_of_4_GB": ("", content_of(length_of_pixels)),
    "upper_case_text_padding": ("", content_of(lambda b: b + b"\0" * 4096)),
    "no_sop_class": ("", tags(SOPClassUID=None)),
    "modality_ct": ("not an MR", tags(FOUR, Modality="CT")),
    "instance_numbers_all_the_same": ("", defect("instance_numbers_repeated")),
    "character_set_unknown": ("", defect("unknown_character_set")),
    "long_numbers": ("", defect("numbers_too_long")),
    "description_markup": ("", tags(SeriesDescription="<script>alert(1)</script>cine_4ch")),
    "description_of_10000": ("", tags(SeriesDescription="x" * 10_000)),
}
ATTACKS = [Attack(name, "one view", change, words) for name, (words, change) in (SYNTAXES | DAMAGE).items()]
