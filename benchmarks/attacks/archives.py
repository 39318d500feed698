"""UK Biobank's zips and Sunnybrook's tars: members that climb, lie, explode, link or are cut; manifests."""

import bz2
import io
import lzma
import tarfile
import zipfile

from corpus import apply
from corpus.source import File

from attacks import Attack


def defect(name):
    return lambda place: apply(name, place.source)


def archive_of(place, field="20209"):
    return next(place.src.glob(f"9000001_{field}_*.zip"))


def added(*members, field="20209"):
    """Further members: (name or ZipInfo, bytes)."""

    def changed(place):
        with zipfile.ZipFile(archive_of(place, field), "a", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)

    return changed


def zip_bytes(change, field="20208"):
    def changed(place):
        path = archive_of(place, field)
        path.write_bytes(change(path.read_bytes()))

    return changed


def info(name, **values):
    one = zipfile.ZipInfo(name)
    for key, value in values.items():
        setattr(one, key, value)
    return one


def flipped(content, at, bits=0xFF, every=None):
    content = bytearray(content)
    content[at] ^= bits
    return bytes(content)


def in_directory(content, offset, value):
    """Change a field of the first entry in the central directory of a zip."""
    at = content.index(b"PK\1\2") + offset
    return content[:at] + value + content[at + len(value) :]


def manifest(change):
    def changed(place):
        for file in place.source.files:
            if "/manifest." in file.path:
                file.content = change(file.content)

    return changed


def renamed(new, field="20208"):
    """The archive under another name; copied where `new` holds a *."""

    def changed(place):
        path = archive_of(place, field)
        path.rename(path.with_name(new))

    return changed


def copied(new, field="20208"):
    def changed(place):
        path = archive_of(place, field)
        (place.src / new).parent.mkdir(exist_ok=True, parents=True)
        (place.src / new).write_bytes(path.read_bytes())

    return changed


def packed_again(kind):
    """The zip's members packed by another method."""

    def changed(place):
        path = archive_of(place, "20208")
        with zipfile.ZipFile(path) as old:
            members = [(one, old.read(one)) for one in old.infolist()]
        with zipfile.ZipFile(path, "w", kind) as new:
            for one, content in members:
                new.writestr(one.filename, content, kind)

    return changed


def in_folders(place):
    for file in place.source.files:
        archive, _, name = file.path.partition(".zip/")
        file.path = f"{archive}.zip/images/1/{name}"


def deflated_bomb(place):
    """A deflated DICOM member of a MB that unpacks to GBs: the zip's own numbers are honest."""
    from attacks.damage import bomb

    classic = place.source.images()
    names = [file for file in place.source.files if not file.cine]
    place.source.files = classic
    from attacks import bases

    cine = bases.FOUR
    assert place.source.images(cine)
    bomb(place)
    file = place.source.files.pop()
    file.path = classic[-1].path.rpartition("/")[0] + "/bomb.dcm"
    file.content = file.content[: len(file.content) // 4]
    place.source.files = [*classic, *names, file]


ZIPS = {
    "climbs": ("leads out", added(("../../climbed.dcm", b"x"))),
    "absolute": ("leads out", added(("/etc/climbed.dcm", b"x"))),
    "drive_letter": ("leads out", added(("C:\\windows\\x.dcm", b"x"))),
    "backslashes": ("leads out", added(("..\\..\\x.dcm", b"x"))),
    "bomb": ("far more than", defect("zip_bomb")),
    "honest_bomb_in_dicom": ("MiB|cut|header|damaged", deflated_bomb),
    "letter": ("not a DICOM", added(("letter.txt", "seen by Dr. MARKED"))),
    "zip_in_zip": ("not a DICOM", added(("more.zip", b"PK\3\4" + bytes(300)))),
    "encrypted_flag": ("encrypted", zip_bytes(lambda b: in_directory(b, 8, b"\1\0"))),
    "says_small": ("damaged|size|missing_frames", zip_bytes(lambda b: in_directory(b, 24, b"\x10\0\0\0"))),
    "says_large": ("damaged|far more|missing_frames", zip_bytes(lambda b: in_directory(b, 24, b"\xff\xff\xff\x7f"))),
    "wrong_checksum": ("damaged", zip_bytes(lambda b: in_directory(b, 16, b"\1\2\3\4"))),
    "unknown_method": ("damaged|header|NotImpl", zip_bytes(lambda b: in_directory(b, 10, b"\x63\0"))),
    "offset_behind": ("damaged", zip_bytes(lambda b: in_directory(b, 42, b"\xff\xff\xff\x0f"))),
    "cut": ("archive is damaged", zip_bytes(lambda b: b[: len(b) * 2 // 3])),
    "cut_head": ("archive is damaged|damaged", zip_bytes(lambda b: b[1000:])),
    "empty_file": ("archive is damaged", zip_bytes(lambda b: b"")),
    "prefixed_by_html": ("", zip_bytes(lambda b: b"<html></html>" + b)),
    "bzip2": ("", packed_again(zipfile.ZIP_BZIP2)),
    "lzma": ("", packed_again(zipfile.ZIP_LZMA)),
    "stored": ("", packed_again(zipfile.ZIP_STORED)),
    "in_folders": ("", in_folders),
    "twice_in_one_zip": ("twice", lambda place: _twice(place)),
    "there_twice": ("lies there twice", copied("again/9000001_20208_2_0.zip")),
    "named_copy": ("belongs to no subject", copied("9000001_20208_2_0 (1).zip")),
    "further_array": ("archived_twice|twice", copied("9000001_20208_2_1.zip")),
    "upper_case": ("belongs to no subject", renamed("9000001_20208_2_0.ZIP")),
    "member_name_of_60000": ("not a DICOM", added(("x" * 60_000, b"x"))),
    "member_name_of_controls": ("not a DICOM", added(("a\nb\x1b[31m.dcm", b"x"))),
    "many_empty_members": ("empty", added(*[(f"{n}.dcm", b"") for n in range(3000)])),
    "folder_member": ("", added(("folder/", b""))),
    "link_member": ("not a DICOM", added((info("link.dcm", external_attr=0o120777 << 16), "/etc/passwd"))),
    "mac_members": ("not a DICOM", added(("__MACOSX/._a.dcm", b"\0\5\x16\7"))),
    "manifest_lists_more": ("manifest", defect("manifest_lists_more")),
    "manifest_absent": ("", defect("manifest_absent")),
    "manifest_cvs": ("", defect("manifest_called_cvs")),
    "manifest_not_utf8": ("", manifest(lambda text: text.encode() + b"\xff\xfe,\xff\n")),
    "manifest_of_1e6_columns": ("", manifest(lambda text: text + "," * 1_000_000 + "\n")),
    "manifest_of_nul": ("", manifest(lambda text: text + "\0\0\0\n")),
    "manifest_empty": ("", manifest(lambda text: "")),
    "manifest_formula": ("manifest", manifest(lambda text: text + "=1+1,=1+1,=1+1,=1+1\n")),
}
ZIPS["empty_zip"] = (
    "archive is damaged",
    lambda place: zipfile.ZipFile(place.src / "9000003_20208_2_0.zip", "w").close(),
)


def _twice(place):
    path = archive_of(place)
    with zipfile.ZipFile(path) as archive:
        one = next(name for name in archive.namelist() if name.endswith(".dcm"))
        content = archive.read(one)
    added(("again.dcm", content))(place)


# --- tars ------------------------------------------------------------------------------------------------------------


def tar_of(place):
    return place.src / "dicom" / "SCD0000101.tar.xz"


def tar_bytes(change):
    def changed(place):
        tar_of(place).write_bytes(change(tar_of(place).read_bytes()))

    return changed


def tar_with(*members, front=False):
    """Further members of the tar: (name, type, link name or bytes)."""

    def changed(place):
        with tarfile.open(tar_of(place)) as old:
            kept = [(one, old.extractfile(one).read() if one.isfile() else None) for one in old]
        more = []
        for name, kind, content in members:
            one = tarfile.TarInfo(name)
            one.type = kind
            one.linkname = content if isinstance(content, str) else ""
            one.size = len(content) if isinstance(content, bytes) else 0
            more.append((one, content if isinstance(content, bytes) else None))
        with tarfile.open(tar_of(place), "w:xz", preset=0) as new:
            for one, content in more + kept if front else kept + more:
                new.addfile(one, io.BytesIO(content) if content is not None else None)

    return changed


def tar_bomb(place):
    """A member of 4 GB of zeros behind the images, in 600 kB."""
    packed = tar_of(place).read_bytes()
    content = lzma.decompress(packed).rstrip(b"\0")
    content += bytes(-len(content) % 512)
    head = tarfile.TarInfo("SCD0000101/bomb.dcm")
    head.size = 2**32
    zeros = lzma.compress(bytes(2**26), preset=0)
    tar_of(place).write_bytes(lzma.compress(content + head.tobuf(), preset=0) + zeros * 64 + lzma.compress(bytes(1024)))


def other_packing(pack):
    return tar_bytes(lambda b: pack(lzma.decompress(b)))


def flat_folder(place):
    """Unpacked, as a folder, with a file that is no image."""
    with tarfile.open(tar_of(place)) as archive:
        archive.extractall(place.src / "dicom", filter="data")
    tar_of(place).unlink()
    (place.src / "dicom" / "SCD0000101" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")


TARS = {
    "tar_link": ("link, pipe or device", tar_with(("SCD0000101/x.dcm", tarfile.SYMTYPE, "/etc/passwd"))),
    "tar_hard_link": ("link, pipe or device", tar_with(("SCD0000101/x.dcm", tarfile.LNKTYPE, "SCD0000101/1.dcm"))),
    "tar_pipe": ("link, pipe or device", tar_with(("SCD0000101/x.dcm", tarfile.FIFOTYPE, ""))),
    "tar_device": ("link, pipe or device", tar_with(("SCD0000101/x.dcm", tarfile.CHRTYPE, ""))),
    "tar_climbs": ("DICOM", tar_with(("../../climbed.dcm", tarfile.REGTYPE, b"x" * 200))),
    "tar_absolute": ("DICOM", tar_with(("/climbed.dcm", tarfile.REGTYPE, b"x" * 200))),
    "tar_bomb": ("MiB", tar_bomb),
    "tar_cut": ("damaged or cut short", tar_bytes(lambda b: b[: len(b) // 2 * 1])),
    "tar_damaged": ("damaged or cut short", tar_bytes(lambda b: flipped(b, len(b) // 2))),
    "tar_empty": ("damaged or cut short|no cine", tar_bytes(lambda b: b"")),
    "tar_is_text": ("damaged or cut short|no cine", tar_bytes(lambda b: b"<html>")),
    "tar_of_nothing": ("no cine|contours without images|0 cines", tar_bytes(lambda b: lzma.compress(bytes(10240)))),
    "tar_gz_named_xz": ("", other_packing(lambda b: __import__("gzip").compress(b, 1))),
    "tar_bz2_named_xz": ("", other_packing(bz2.compress)),
    "tar_not_packed": ("", other_packing(bytes)),
    "tar_member_twice": ("twice", tar_with(("SCD0000101/x.dcm", tarfile.REGTYPE, b"x"), ("y", tarfile.REGTYPE, b"x"))),
    "tar_name_of_latin_1": ("DICOM", tar_with(("M\udcfcller.txt", tarfile.REGTYPE, b"x" * 200))),
    "tar_unpacked": ("DICOM", flat_folder),
    "tar_is_a_folder": ("", lambda place: (tar_of(place).unlink(), tar_of(place).mkdir())),
}
TARS["tar_is_a_folder"] = ("no cine|images", TARS["tar_is_a_folder"][1])
ATTACKS = [
    Attack(name, base, change, words, secrets=("9000001",), labelled=base != "ukbb")  # labels are salted by the zip
    for base, family in (("ukbb", ZIPS), ("sunnybrook", TARS))
    for name, (words, change) in family.items()
]
__all__ = ["ATTACKS", "File"]
