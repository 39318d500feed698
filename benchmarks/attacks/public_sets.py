"""Public sets in their own layouts: ACDC, Sunnybrook, Kaggle's drawings and tree; tables, contours and masks."""

import os
import zipfile

import numpy as np
from corpus import apply
from corpus.acdc_defects import _info, _named, _replace

from attacks import Attack
from attacks.bases import jpeg


def defect(name):
    return lambda place: apply(name, place.source)


def info(**lines):
    """Lines of Info.cfg, "" to remove one."""
    return lambda place: _info(place.source, {key: value and f"{key}: {value}" for key, value in lines.items()})


def masks(change):
    return lambda place: _replace(_named(place.source, "_gt.nii.gz"), change)


def info_bytes(change):
    def changed(place):
        content = _info(place.source)
        content.content = change(content.content)

    return changed


def info_is(make):
    """Info.cfg is no file."""

    def changed(place):
        path = place.src / place.source.folder / "Info.cfg"
        path.unlink()
        make(path)

    return changed


ACDC = {
    "group_formula": ("", info(Group="=cmd|' /C calc'!A0<script>")),
    "height_1e308": ("height_implausible", info(Height="1e308")),
    "weight_negative": ("", info(Weight="-80")),
    "weight_of_text": ("", info(Weight="heavy")),
    "ed_superscript": ("no frame number", info(ED="²")),
    "ed_roman": ("no frame number", info(ED="IV")),
    "ed_99": ("missing", info(ED="99")),
    "ed_of_20_digits": ("no frame number", info(ED="9" * 20)),
    "ed_of_5000_digits": ("missing|no frame number", info(ED="9" * 5000)),
    "ed_is_es": ("", None),
    "nbframe_thirty": ("", info(NbFrame="thirty")),
    "info_missing": ("Info.cfg is missing", defect("acdc_no_info")),
    "info_empty": ("no frame number", info_bytes(lambda text: "")),
    "info_of_windows": ("", defect("acdc_info_from_windows")),
    "info_utf16": ("no frame number", info_bytes(lambda text: text.encode("utf-16"))),
    "info_twice_ed": ("", info_bytes(lambda text: text + text)),
    "info_a_pipe": ("Info.cfg is missing", info_is(os.mkfifo)),
    "info_a_folder": ("Info.cfg is missing", info_is(os.mkdir)),
    "info_dev_zero": ("Info.cfg is missing", info_is(lambda path: path.symlink_to("/dev/zero"))),
    "masks_upside_down": ("masks_turned", defect("acdc_masks_upside_down")),
    "masks_mirrored": ("masks_turned", defect("acdc_masks_mirrored")),
    "masks_of_the_other_labels": ("labels", defect("acdc_labels_lv_first")),
    "masks_shifted_by_40_mm": ("position", defect("acdc_mask_lies_elsewhere")),
    "masks_shifted_by_8_pixels": ("masks_", masks(lambda mask: np.roll(mask, 8, axis=2))),
    "masks_without_lv": ("lv_missing", masks(lambda mask: np.where(mask == 3, 0, mask))),
    "masks_all_lv": ("lv_at_edge", masks(lambda mask: np.full_like(mask, 3))),
    "masks_label_1.5": ("mask values", masks(lambda mask: mask * np.float32(1.5))),
    "masks_label_minus_253": ("mask values", masks(lambda mask: np.where(mask == 3, -253, mask.astype(np.int16)))),
    "masks_label_259": ("mask values", masks(lambda mask: np.where(mask == 3, 259, mask.astype(np.int16)))),
    "masks_empty": ("empty", defect("acdc_masks_empty")),
    "mask_missing": ("mask", defect("acdc_mask_missing")),
    "mask_of_another_shape": ("shape", defect("acdc_mask_of_another_shape")),
    "ed_es_exchanged": ("ed_es_swapped", defect("acdc_ed_and_es_swapped")),
    "cine_of_another_shape": ("shape", defect("acdc_cine_of_another_shape")),
    "cine_of_another_patient": ("differ", lambda place: _exchange(place)),
    "patient_there_twice": ("two folders", defect("acdc_patient_there_twice")),
    "group_unknown": ("", info(Group="XYZ")),
}
ACDC["ed_is_es"] = (
    "as ED and as ES",
    lambda place: _info(place.source, {"ES": _info(place.source).content.splitlines()[0].replace("ED", "ES")}),
)


def _exchange(place):
    """The 4-D file is the other patient's."""
    mine, other = (_named(source, "_4d.nii.gz")[0] for source in place.sources)
    mine.content = other.content


def no_formula(place):
    text = (place.dest / "participants.tsv").read_text()
    return "a formula" if "\t=" in text else ""


# --- Sunnybrook ------------------------------------------------------------------------------------------------------


def contours(change):
    """Change the texts of contours."""

    def changed(place):
        for path in sorted((place.src / "contours" / "SC-HF-I-1").rglob("*contour-manual.txt")):
            path.write_bytes(change(path.read_text()).encode())

    return changed


def each_point(change):
    """Change the points of contours, (n, 2) → (n, 2)."""

    def changed(text):
        points = change(np.array([line.split() for line in text.splitlines()], float))
        return "\n".join(f"{x:.2f} {y:.2f}" for x, y in points) + "\n"

    return contours(changed)


def table(name, text):
    return lambda place: (place.src / name).write_text(text)


PEOPLE = "PatientID,OriginalID,Gender,Age,Pathology\nSCD0000101,SC-HF-I-1,Male,{},Normal\n"
SUNNYBROOK = {
    "contour_leaves_the_image": ("leaves its image", each_point(lambda p: p + 30)),
    "contour_of_two_points": ("three or more", each_point(lambda p: p[:2])),
    "contour_of_nan": ("three or more", contours(lambda text: text.replace(text.split()[0], "nan", 1))),
    "contour_with_commas": ("three or more", contours(lambda text: text.replace(" ", ","))),
    "contour_of_3_columns": ("three or more", contours(lambda text: text.replace("\n", " 0\n"))),
    "contour_empty": ("three or more", contours(lambda text: "")),
    "contour_in_mm": ("leaves|contours_", each_point(lambda p: p * 1.5)),
    "contour_repeated_point": ("", each_point(lambda p: np.r_[p, p[:1]])),
    "contour_of_no_area": ("of no area", each_point(lambda p: p * [1, 0] + [0, 20])),
    "contour_of_10000_points": ("", each_point(lambda p: np.repeat(p, 120, 0))),
    "contours_inside_out": ("o_contours_dropped", lambda place: _swap_kinds(place)),
    "contour_number_of_9_digits": ("no image", lambda place: _rename(place, "0039", "999999999")),
    "link_table_of_others": ("", table("link.csv", "patient_id,original_id\nSCD0000401,SC-HF-I-5\n")),
    "link_table_climbs": ("", table("link.csv", "patient_id,original_id\nSCD0000101,../../x\n")),
    "link_table_broken": ("link.csv", table("link.csv", 'patient_id,original_id\n"SCD0000101,SC-HF-I-1\n')),
    "link_table_other_columns": ("link.csv", table("link.csv", "a,b\n1,2\n")),
    "link_table_empty": ("link.csv", table("link.csv", "")),
    "people_age_999": ("age_implausible", table("scd_patientdata.csv", PEOPLE.format(999))),
}


def _swap_kinds(place):
    folder = place.src / "contours" / "SC-HF-I-1"
    for path in sorted((folder / "o-contours").iterdir()):
        inner = folder / "i-contours" / path.name.replace("ocontour", "icontour")
        one, other = path.read_bytes(), inner.read_bytes()
        path.write_bytes(other)
        inner.write_bytes(one)


def _rename(place, old, new):
    for path in sorted((place.src / "contours").rglob(f"*{old}*")):
        path.rename(path.with_name(path.name.replace(old, new)))


# --- Kaggle ----------------------------------------------------------------------------------------------------------


def member(name, content):
    """Replace or add a member of the zip."""

    def changed(place):
        path = place.src / "manual_lax4ch.zip"
        with zipfile.ZipFile(path) as archive:
            members = {one: archive.read(one) for one in archive.namelist()}
        members[name] = content(members.get(name)) if callable(content) else content
        with zipfile.ZipFile(path, "w") as archive:
            for one, data in members.items():
                archive.writestr(one, data)

    return changed


def claims_32000(content):
    content = bytearray(content)
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = (32000).to_bytes(2, "big") * 2
    return bytes(content)


IMAGE, CONTOUR = (f"manual_lax4ch/{kind}/ch4_7_0003.jpg" for kind in ("images", "contours"))
KAGGLE = {
    "jpeg_claims_32000_squared": ("more pixels|damaged", member(IMAGE, claims_32000)),
    "jpeg_empty": ("JPEG|damaged", member(IMAGE, b"")),
    "jpeg_is_text": ("JPEG", member(IMAGE, b"<html>")),
    "jpeg_cut": ("JPEG|damaged", member(IMAGE, lambda content: content[: len(content) // 2])),
    "jpeg_of_another_shape": ("shape", member(IMAGE, jpeg(np.zeros((20, 20), np.uint8)))),
    "contour_grey": ("", None),
    "contour_all_dark": ("lv_at_edge", member(CONTOUR, jpeg(np.zeros((40, 40), np.uint8)))),
    "contour_inverted": ("lv_at_edge", member(CONTOUR, lambda content: _inverted(content))),
    "contour_of_another_shape": ("shape", member(CONTOUR, jpeg(np.zeros((20, 20), np.uint8)))),
    "member_climbs": ("", member("manual_lax4ch/../../../images/../x.jpg", b"1")),
    "member_of_no_patient": ("", member("manual_lax4ch/images/ch4_x_1.jpg", b"1")),
    "no_zip": ("no readable zip", lambda place: (place.src / "manual_lax4ch.zip").write_bytes(b"PK")),
    "volumes_of_text": ("volumes", table("train.csv", "Id,Systole,Diastole\n7,small,large\n12,50,120\n")),
    "volumes_negative": ("volumes", table("train.csv", "Id,Systole,Diastole\n7,-60,150\n12,50,120\n")),
    "volumes_exchanged": ("volumes", table("train.csv", "Id,Systole,Diastole\n7,150,60\n12,50,120\n")),
    "volumes_of_0": ("volumes", table("train.csv", "Id,Systole,Diastole\n7,0,0\n12,50,120\n")),
    "volumes_without_columns": ("train.csv", table("train.csv", "a,b\n7,60\n")),
    "people_other_columns": ("patient_metadata", table("patient_metadata.tsv", "a\tb\n7\tF\n")),
    "people_of_999": (
        "age_implausible",
        table("patient_metadata.tsv", "pid\tPatientsSex\tPatientsAgeYears\n7\tF\t999\n"),
    ),
}
del KAGGLE["contour_grey"]


def _inverted(content):
    import cv2

    return jpeg(255 - cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE))


MAY = {"group": ("group",), "contour": ("mask", "ed", "es")}
ATTACKS = [
    Attack(name, base, change, words, right=no_formula, may=MAY.get(name.split("_")[0], ()))
    for base, family in (("acdc", ACDC), ("sunnybrook", SUNNYBROOK), ("dsb2015", KAGGLE))
    for name, (words, change) in family.items()
]
