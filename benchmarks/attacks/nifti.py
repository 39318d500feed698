"""NIfTI: headers, sidecars, names and damage; files as people and converters leave them."""

import gzip
import json

import nibabel as nib
import numpy as np
from corpus import apply
from corpus.nifti import image_of
from corpus.nifti_defects import edit, sform
from corpus.registry import as_bytes
from corpus.source import File

from attacks import Attack
from attacks.bases import FOUR


def header(**fields):
    """Set header fields of the four-chamber's file, whatever they mean."""
    return lambda place: edit(four(place), **fields)


def four(place) -> File:
    return place.source.images(FOUR)[0]


def defect(name):
    return lambda place: apply(name, place.source)


def stored(change):
    """Other numbers of the four-chamber, (frames, slices, rows, columns)."""

    def changed(place):
        old = four(place).content
        array = change(np.asarray(old.dataobj).T)
        new = image_of(array.astype(np.float64), old.affine, float(old.header["pixdim"][4]))
        new.set_data_dtype(array.dtype)
        four(place).content = nib.Nifti1Image(array.T, None, new.header, dtype=array.dtype)

    return changed


def packed(change):
    """Other bytes of the four-chamber's file."""

    def changed(place):
        four(place).content = change(as_bytes(four(place)))

    return changed


def unpacked(change):
    return packed(lambda content: gzip.compress(change(gzip.decompress(content))))


def beside(name, content):
    """A further file in the first subject's folder."""
    return lambda place: place.source.files.append(File(f"{place.source.folder}/{name}", content))


def sidecar(**values):
    return beside("4ch.json", json.dumps(values))


def people(text):
    """A participants.tsv."""

    def changed(place):
        (place.src / "participants.tsv").write_bytes(text if isinstance(text, bytes) else text.encode())

    return changed


def claims(rows, frames, fill=0):
    """A header of more than is there; fill: blocks of 64 MiB of zeros that are there, packed."""

    def changed(content):
        head = bytearray(gzip.decompress(content)[:352])
        head[40:56] = np.array([4, rows, rows, 1, frames, 1, 1, 1], "<i2").tobytes()
        return gzip.compress(bytes(head)) + gzip.compress(bytes(2**26), 9) * fill

    return packed(changed)


def renamed(new):
    def changed(place):
        four(place).path = f"{place.source.folder}/{new}"

    return changed


def masked(place, change=lambda mask: mask, affine=None, name="sax_seg.nii.gz"):
    """A mask beside the stack: a disc of LV in a ring of myocardium, in ED and ES."""
    sax = next(file for file in place.source.images() if file.cine != FOUR)
    old = sax.content
    shape = np.asarray(old.dataobj).T.shape
    rows, columns = np.indices(shape[2:]) - shape[2] // 2
    mask = np.zeros(shape, np.uint8)
    mask[[0, 3]] = np.where(np.hypot(rows, columns) < 5, 3, np.where(np.hypot(rows, columns) < 7, 2, 0))
    place.source.files.append(
        File(f"{place.source.folder}/{name}", image_of(change(mask), old.affine if affine is None else affine))
    )


LABELLED = "ingest nifti {src} {dest} --workers 1 --label lv=3 --label myo=2"
HEADERS = {
    "vox_offset_0": ("vox_offset", header(vox_offset=0)),
    "vox_offset_nan": ("vox_offset", header(vox_offset=np.nan)),
    "vox_offset_infinite": ("vox_offset", header(vox_offset=np.inf)),
    "vox_offset_negative": ("vox_offset", header(vox_offset=-352)),
    "vox_offset_behind_the_end": ("cut short", header(vox_offset=10**7)),
    "vox_offset_between": ("cut short", header(vox_offset=352.7e1)),
    "claims_7_GB": ("MiB", claims(30000, 2)),
    "gzip_of_4_GB": ("MiB", claims(30000, 2, 64)),
    "gzip_of_4_GB_behind_the_image": ("MiB", packed(lambda b: b + gzip.compress(bytes(2**26), 9) * 64)),
    "dims_overflow": ("MiB|damaged", header(dim=[7, 32767, 32767, 32767, 32767, 32767, 32767, 32767])),
    "dims_negative": ("damaged", header(dim=[4, -36, 36, 1, 6, 1, 1, 1])),
    "dims_of_0": ("damaged", header(dim=[0, 36, 36, 1, 6, 1, 1, 1])),
    "two_time_axes": ("axes", header(dim=[5, 36, 36, 1, 3, 2, 1, 1])),
    "time_third": ("contrast|frame|slices", header(dim=[3, 36, 36, 6, 1, 1, 1, 1])),
    "five_dimensions": ("", defect("five_dimensions")),
    "type_complex": ("complex|stored as", header(datatype=32, bitpix=64)),
    "type_rgb": ("stored as|cut short|damaged", header(datatype=128, bitpix=24)),
    "type_unknown": ("damaged", header(datatype=999)),
    "type_signed": ("contrast|NaN|cut", header(datatype=16, bitpix=32)),
    "scl_slope_nan": ("", header(scl_slope=np.nan, scl_inter=0)),
    "scl_slope_infinite": ("", header(scl_slope=np.inf, scl_inter=0)),
    "scl_slope_0": ("", header(scl_slope=0, scl_inter=7)),
    "scl_slope_1e30": ("NaN|infinite|too large", header(scl_slope=1e38, scl_inter=0)),
    "scl_slope_negative": ("contrast|inverted", header(scl_slope=-1, scl_inter=900)),
    "nifti_2": ("NIfTI-2", header(sizeof_hdr=540)),
    "pair_magic": ("damaged|single-file", header(magic=b"ni1")),
    "byte_order_of_others": ("", defect("bytes_swapped")),
}
PLACES = {
    "pixels_1.5_by_1000_mm": ("pixel_size_implausible|voxel size", header(pixdim={2: 1000.0}, sform_code=0)),
    "slices_1000_mm": ("", None),
    "voxels_nan": ("voxel size|singular", header(pixdim={1: np.nan}, sform_code=0)),
    "voxels_zero": ("voxel size", defect("voxel_size_zero")),
    "voxels_negative": ("voxel size", defect("voxel_size_negative")),
    "voxels_in_micrometres_unsaid": ("voxel size", header(pixdim={1: 5000.0, 2: 5000.0}, sform_code=0)),
    "sform_singular": ("singular|voxel size", defect("singular_affine")),
    "sform_nan": ("singular", header(**sform([np.nan] * 4, [0, 5, 0, 0], [0, 0, 8, 0], sform_code=1))),
    "sform_against_qform": ("sform", defect("sform_against_qform")),
    "sform_1e6_mm_away": ("", header(**sform([5, 0, 0, 1e6], [0, 5, 0, 1e6], [0, 0, 8, 1e6]))),
    "no_form": ("orientation", defect("no_form")),
    "qform_no_rotation": ("no rotation", header(quatern_b=5.0, sform_code=0)),
    "sheared": ("shear", defect("sheared_affine")),
}
PLACES["slices_1000_mm"] = (
    "slice_distance_implausible",
    lambda place: [edit(file, pixdim={3: 1000.0}, sform_code=0) for file in place.source.images()],
)
PLACES["sform_1e6_mm_away"] = ("sform|metres away|place", PLACES["sform_1e6_mm_away"][1])
TIMES = {
    "sidecar_rr_of_1e6_s": ("rr_|sidecar", sidecar(FrameTimes=[0.04 * t for t in range(6)], RRInterval=1e6)),
    "sidecar_rr_of_0": ("rr_|sidecar", sidecar(FrameTimes=[0.04 * t for t in range(6)], RRInterval=0)),
    "sidecar_rr_of_1_ms": ("rr_|sidecar", sidecar(FrameTimes=[0.04 * t for t in range(6)], RRInterval=0.001)),
    "sidecar_rr_of_text": ("rr_|sidecar|step", sidecar(FrameTimes=[0.04 * t for t in range(6)], RRInterval="1 s")),
    "sidecar_steps_of_a_microsecond": ("step|rr|sidecar", sidecar(FrameTimes=[1e-6 * t for t in range(6)])),
    "sidecar_times_backwards": ("sidecar", sidecar(FrameTimes=[0.2, 0.16, 0.12, 0.08, 0.04, 0])),
    "sidecar_times_of_others": ("sidecar", sidecar(FrameTimes=[0.0, 0.04])),
    "sidecar_times_nan": ("sidecar", beside("4ch.json", '{"FrameTimes": [0, NaN, 1, 2, 3, 4]}')),
    "sidecar_a_list": ("", beside("4ch.json", "[]")),
    "sidecar_nested_100000_deep": ("", beside("4ch.json", "[" * 100_000)),
    "sidecar_no_json": ("", beside("4ch.json", "{")),
    "sidecar_latin_1": ("", beside("4ch.json", b'{"View": "\xe9"}')),
    "sidecar_of_another_view": ("view|description|name", sidecar(View="sax")),
    "step_of_0": ("time", header(pixdim={4: 0})),
    "step_of_nan": ("time", header(pixdim={4: np.nan})),
    "step_negative": ("time", header(pixdim={4: -0.05})),
    "step_of_1e30": ("time", header(pixdim={4: 1e30})),
    "step_of_no_heart": ("time", defect("time_of_no_heart")),
}
PIXELS = {
    "float64_of_1e303": ("NaN|infinite|too large", stored(lambda a: a * 1e300)),
    "one_nan": ("NaN", defect("not_a_number")),
    "int64_beyond_32_bits": ("32 bits", stored(lambda a: a.astype(np.int64) * 10**12)),
    "all_zero": ("constant|contrast|motion", stored(np.zeros_like)),
    "one_frame_inverted": ("grey_inverted", stored(lambda a: np.concatenate([a[:2], a[2:3].max() - a[2:3], a[3:]]))),
    "no_motion": ("no_motion", stored(lambda a: np.repeat(a[:1], 6, 0))),
    "one_pixel": ("pixel|field|frame|contrast", stored(lambda a: a[..., :1, :1])),
    "one_frame": ("frame", defect("one_frame_only")),
    "float": ("", defect("float_pixels")),
    "scaled": ("", defect("scaled_pixels")),
}
DAMAGE = {
    "gzip_cut_short": ("damaged|cut short", defect("gzip_cut_short")),
    "gzip_wrong_checksum": ("damaged|cut short", defect("gzip_damaged")),
    "gzip_of_gzip": ("damaged|no single-file|NIfTI", packed(gzip.compress)),
    "empty": ("empty|damaged", defect("image_file_empty")),
    "html_for_nifti": ("NIfTI|damaged|cut", packed(lambda b: b"<html>Quota exceeded</html>" * 20)),
    "lfs_pointer": ("cut short|empty", packed(lambda b: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n")),
    "not_compressed_but_gz": ("", packed(gzip.decompress)),
    "compressed_but_nii": ("", lambda place: (as_bytes(four(place)), renamed("4ch.nii")(place), _pack(place))),
    "upper_case": ("", renamed("4CH.NII.GZ")),
    "three_times_cut": ("cut short", unpacked(lambda b: b[: len(b) - 700])),
    "rest_behind": ("", unpacked(lambda b: b + b"\0" * 5000)),
    "analyze_pair": ("not a NIfTI", lambda place: (beside("x.hdr", bytes(348))(place), beside("x.img", b"1")(place))),
    "mgh_and_nrrd": ("not a NIfTI", lambda place: (beside("x.mgz", b"1")(place), beside("x.nrrd", b"NRRD0004")(place))),
}


def _pack(place):
    content = as_bytes(four(place))
    four(place).content = content if content[:2] == b"\x1f\x8b" else gzip.compress(content)


MASKS = {
    "mask_unasked": ("segmentation by its name", masked),
    "mask_label_9": ("mask values", lambda place: masked(place, lambda m: np.where(m == 3, 9, m)), LABELLED),
    "mask_label_254_of_int16": (
        "mask values",
        lambda place: masked(place, lambda m: m.astype(np.int16) - 253),
        LABELLED,
    ),
    "mask_smoothed": ("mask values", lambda place: masked(place, lambda m: m * np.float32(0.5)), LABELLED),
    "mask_259": (
        "mask values",
        lambda place: masked(place, lambda m: np.where(m, 256 + m.astype(np.int16), 0)),
        LABELLED,
    ),
    "mask_of_another_shape": ("shape", lambda place: masked(place, lambda m: m[..., :-2]), LABELLED),
    "mask_of_one_frame": ("shape", lambda place: masked(place, lambda m: m[:1]), LABELLED),
    "mask_elsewhere": ("elsewhere", lambda place: masked(place, affine=np.diag([5.0, 5, 8, 1])), LABELLED),
    "mask_of_no_image": ("no image of its name", lambda place: masked(place, name="other_seg.nii.gz"), LABELLED),
    "mask_empty": ("", lambda place: masked(place, np.zeros_like), LABELLED),
}
TABLES = {
    "people_not_utf8": ("participants.tsv", people(b"participant_id\tsex\nP0001\t\xff\n")),
    "people_formula": ("", people("participant_id\tsex\tage\tgroup\nP0001\t=1+1\t-5\t@SUM(1)\n")),
    "people_twice": ("contradict", people("participant_id\tsex\nP0001\tM\nP0001\tF\n")),
    "people_without_ids": ("participants.tsv", people("name\tsex\nP0001\tM\n")),
    "people_empty": ("participants.tsv", people("")),
    "people_commas": ("participants.tsv", people("participant_id,sex\nP0001,M\n")),
    "people_utf16": ("participants.tsv", people("participant_id\tsex\nP0001\tM\n".encode("utf-16"))),
    "people_with_bom": ("", people("\ufeffparticipant_id\tsex\nP0001\tM\n")),
    "people_of_200_years": ("age_implausible", people("participant_id\tage\nP0001\t200\n")),
    "people_height_in_cm": ("height_implausible", people("participant_id\theight_m\nP0001\t171\n")),
    "people_nul": ("", people("participant_id\tsex\nP0001\tM\0\n")),
    "people_a_folder": ("", lambda place: (place.src / "participants.tsv").mkdir()),
}


def no_formula(place):
    text = (place.dest / "participants.tsv").read_text()
    return "a formula" if "\t=" in text or "\t@" in text else ""


ATTACKS = [
    Attack(
        name,
        "nifti",
        change,
        words,
        *rest,
        right=no_formula if name == "people_formula" else None,
        may=("sex", "age", "group", "height_m") if name in TABLES else (),
    )
    for name, (words, change, *rest) in (HEADERS | PLACES | TIMES | PIXELS | DAMAGE | MASKS | TABLES).items()
]
ATTACKS += [
    Attack(name, "nifti-3d", defect(name), words)
    for name, words in {
        "frame_file_missing": "missing_frames",
        "frame_of_another_shape": "shape",
        "frame_at_another_place": "place|affine",
        "frame_numbers_not_padded": "",
    }.items()
]
