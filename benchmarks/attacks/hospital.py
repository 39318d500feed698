"""What scanners' exports, de-identifiers, zip tools, Windows, Macs, cloud drives and annotation tools do to files."""

import copy
import gzip
import os
import shutil
import zipfile

import numpy as np
import pydicom
from corpus.dicom import get_pixels, set_pixels, uid
from corpus.source import File
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from attacks import Attack
from attacks.bases import FOUR, SAX
from attacks.dicom import defect, each, further_image, image, tags, written
from attacks.files import file, first, flattened

# --- scanners, PACS, de-identifiers ----------------------------------------------------------------------------------


def no_image(name, **values):
    """An object without pixels, or of another kind, beside the images."""

    def changed(place):
        data = copy.deepcopy(place.source.images(FOUR)[0].content)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid(name)
        for keyword, value in values.items():
            if value is None:
                del data[keyword]
            else:
                setattr(data, keyword, value)
        place.source.files.append(File(f"{place.source.folder}/{name}.dcm", data))

    return changed


def conflicted(place):
    """A cloud drive's second version of one frame: the same UID, other pixels."""
    one = place.source.images(FOUR, t=2)[0]
    data = copy.deepcopy(one.content)
    set_pixels(data, get_pixels(data)[::-1].copy())
    place.source.files.append(File(one.path.replace(".dcm", " (Anna's conflicted copy).dcm"), data))


def moved_files(where):
    """Files of the first subject at where(file)."""

    def changed(place):
        for one in place.source.images():
            one.path = f"{place.source.folder}/{where(one)}"

    return changed


def unpacked_cd(place):
    """A CD: DICOMDIR, a viewer, and both patients below DICOM."""
    for n, source in enumerate(place.sources):
        for m, one in enumerate(source.files):
            one.path = f"DICOM/PAT{n:05d}/ST000001/SE000001/IM{m:06d}"
    file("autorun.inf", b"[autorun]")(place)
    file("viewer.exe", b"MZ" * 300, "VIEWER")(place)


def two_cds(place):
    """Half of the slices lie in one first-level folder, half in another."""
    for one in place.source.images():
        one.path = f"CD{1 + one.k % 2}/{one.path.split('/', 1)[1]}"


def half(syntax):
    """Every other file in another transfer syntax."""

    def changed(one):
        if one.t % 2:
            one.content.file_meta.TransferSyntaxUID = syntax

    return each(changed)


def half_jpeg(one):
    if one.t % 2:
        one.content.compress(JPEG2000Lossless, generate_instance_uid=False)


def uid_of(what):
    return lambda one: uid("other", what(one))


def japanese(one):
    data = pydicom.Dataset()
    data.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    one.content.SpecificCharacterSet = data.SpecificCharacterSet
    one.content[0x00100010] = pydicom.DataElement(0x00100010, "PN", b"MARKED^=\x1b$B;3ED\x1b(B".decode("latin-1"))


EXPORTS = {
    "uids_of_every_file": ("", defect("uids_per_file")),
    "one_uid_for_all": ("", defect("one_uid_for_all")),
    "study_uid_of_every_series": ("coverage|session|irregular", tags(StudyInstanceUID=uid_of(lambda f: (f.cine, f.k)))),
    "series_uid_of_every_frame": ("", tags(SeriesInstanceUID=uid_of(lambda f: (f.cine, f.k, f.t)))),
    "frame_of_reference_of_every_file": ("", tags(FrameOfReferenceUID=uid_of(lambda f: (f.cine, f.k, f.t)))),
    "uids_too_long": ("", tags(SeriesInstanceUID=lambda f: "2.25." + "1" * 90 + str(f.k))),
    "dates_shifted_by_series": ("", tags(SeriesDate=lambda f: f"1900{1 + f.k:02d}11")),
    "dates_emptied": ("", tags(StudyDate="", SeriesDate="", AcquisitionDate="", ContentDate="")),
    "times_after_midnight": ("", tags(AcquisitionTime=lambda f: f"{(23 + f.k // 3) % 24:02d}{20 * (f.k % 3):02d}00")),
    "half_of_the_ids_emptied": ("several patients", tags(PatientID=lambda f: "" if f.t % 2 else "MARKED")),
    "all_ids_emptied": ("", tags(PatientID="", PatientName="")),
    "names_spelt_two_ways": ("", tags(PatientName=lambda f: "MARKED^A" if f.t % 2 else "MARKED^A^")),
    "names_in_japanese": ("", each(japanese)),
    "age_without_unit": ("", tags(PatientAge="53")),
    "height_of_0": ("", tags(PatientSize=0)),
    "weight_with_a_comma": ("", written("PatientWeight", "81,3")),
    "trigger_with_a_comma": ("ordered_by", written("TriggerTime", "40,5")),
    "rr_in_seconds": ("rr_", tags(NominalInterval=1, HeartRate=None)),
    "numbers_of_spaces": ("", written("SliceLocation", "   ")),
    "instance_numbers_from_0": ("", tags(InstanceNumber=lambda f: f.t)),
    "instance_numbers_backwards": ("", tags(InstanceNumber=lambda f: 99 - f.t)),
    "instance_numbers_of_9_digits": ("", tags(InstanceNumber=lambda f: 900_000_000 + f.t)),
    "descriptions_emptied": ("", defect("descriptions_absent")),
    "everything_called_anonymous": ("", tags(SeriesDescription="Anonymous", ProtocolName="Anonymous")),
    "description_of_another_view": ("view|description", tags(FOUR, SeriesDescription="cine sax 3ch 2ch")),
    "implicit_and_explicit_mixed": ("", half(ImplicitVRLittleEndian)),
    "big_endian_mixed": ("", half(ExplicitVRBigEndian)),
    "jpeg_2000_mixed": ("", each(half_jpeg)),
    "private_tags_of_a_MB": (
        "",
        each(lambda f: f.content.private_block(0x29, "V", create=True).add_new(1, "OB", b"x" * 30000)),
    ),
    "structured_report_beside": ("not an MR|no pixel", no_image("sr", Modality="SR", PixelData=None)),
    "pdf_beside": ("no pixel|not an MR", no_image("pdf", Modality="DOC", PixelData=None)),
    "presentation_state_beside": ("no pixel|not an MR", no_image("ps", Modality="PR", PixelData=None)),
    "secondary_capture_beside": ("not an MR", no_image("sc", Modality="OT")),
    "ct_of_the_day_beside": ("not an MR", no_image("ct", Modality="CT")),
    "localiser_beside": ("localiser", defect("localiser_beside")),
    "scan_repeated": ("again", defect("slice_repeated")),
    "transfer_broken_off": ("missing_frames", lambda place: place.source.remove(place.source.images(SAX, 4)[4:])),
    "one_slice_not_sent": ("irregular", lambda place: place.source.remove(place.source.images(SAX, 2))),
    "frame_sent_twice": ("twice", defect("instance_there_twice")),
    "scout_at_the_place": ("again|single", further_image(ImageType=["ORIGINAL", "PRIMARY", "M"])),
    "burnt_in_text": ("", image(FOUR, lambda p: np.where(np.indices(p.shape).sum(0) < 4, 4000, p).astype(np.uint16))),
    "phase_folders": ("", moved_files(lambda f: f"phase{f.t:02d}/{f.cine[-3:]}{f.k}.dcm")),
    "two_cds": ("coverage|irregular", two_cds),
    "cd_of_two_patients": ("several patients|belongs", unpacked_cd),
    "both_patients_in_one_heap": ("", flattened),
}

# --- drives, zip tools, systems --------------------------------------------------------------------------------------


def copied(name):
    return lambda place: shutil.copytree(first(place), place.src / name)


def each_file(change):
    """Change the first subject's files on disk: (path) → None."""

    def changed(place):
        for path in sorted(first(place).rglob("*.dcm")):
            change(path)

    return changed


def one_file(change):
    return lambda place: change(sorted(first(place).glob("*4ch*/*.dcm"))[2])


def zipped(path):
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        archive.write(path, path.name)
    path.unlink()


def gzipped(path):
    path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def half_downloaded(path):
    path.rename(path.with_suffix(".crdownload")).write_bytes(path.with_suffix(".crdownload").read_bytes()[:-99])


def sent_as_text(path):
    """An FTP client in text mode."""
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n")[:-50])


def zip_of_the_patient(place):
    shutil.make_archive(str(first(place)), "zip", first(place))
    shutil.rmtree(first(place))


DRIVES = {
    "copy_of_a_folder": ("same_as_another|twice", copied("P0001 (1)")),
    "copy_by_windows": ("same_as_another|twice", copied("P0001 - Copy")),
    "copy_of_a_frame": ("twice", one_file(lambda p: shutil.copy(p, p.with_name(p.stem + " (1).dcm")))),
    "conflicted_copy_of_a_frame": ("cannot be ordered", conflicted),
    "recycle_bin": ("system|recycle|same_as_another", copied("$RECYCLE.BIN")),
    "system_volume_information": ("system|belongs|not a DICOM", file("x.dat", b"1", "System Volume Information")),
    "synology_thumbnails": ("not a DICOM|belongs|system", file("x.jpg", b"\xff\xd8", "P0001/@eaDir/IM-0001.dcm")),
    "thumbs_and_desktop_ini": ("not a DICOM", file("Thumbs.db", b"\xd0\xcf\x11\xe0", "P0001")),
    "icon_of_a_mac": ("not a DICOM", file(b"Icon\r", b"", "P0001")),
    "lock_of_office": ("not a DICOM", file("~$report.docx", b"MARKED", "P0001")),
    "placeholder_of_0_bytes": ("missing_frames", one_file(lambda p: p.write_bytes(b""))),
    "icloud_placeholder": ("missing_frames", one_file(lambda p: p.rename(p.with_name(f".{p.name}.icloud")))),
    "download_not_finished": ("missing_frames", one_file(lambda p: p.write_bytes(p.read_bytes()[:3000]))),
    "crdownload": ("missing_frames|cut short", one_file(half_downloaded)),
    "every_file_zipped": ("not a DICOM", each_file(zipped)),
    "every_file_gzipped": ("not a DICOM", each_file(gzipped)),
    "patient_zipped": ("belongs to no subject", zip_of_the_patient),
    "rar_and_7z": ("belongs to no subject", file("P0003.7z", b"7z\xbc\xaf\x27\x1c")),
    "read_only": ("", each_file(lambda p: p.chmod(0o444))),
    "times_of_1970": ("", each_file(lambda p: os.utime(p, (0, 0)))),
    "times_of_2100": ("", each_file(lambda p: os.utime(p, (4e9, 4e9)))),
    "carriage_returns_in_a_file": ("missing_frames", one_file(sent_as_text)),
    "cvi42_workspace": ("not a DICOM|belongs", file("P0001.cvi42wsx", b"<xml/>", "P0001")),
}
MAY = {"burnt_in_text": ("pixels",)}
STACKED = {
    *("study_uid_of_every_series", "scan_repeated", "transfer_broken_off", "one_slice_not_sent", "two_cds"),
    *(
        "descriptions_emptied",
        "scout_at_the_place",
        "phase_folders",
        "localiser_beside",
        "uids_of_every_file",
        "series_uid_of_every_frame",
    ),
}
UNLABELLED = {"both_patients_in_one_heap", "cd_of_two_patients"}
ATTACKS = [
    Attack(
        name,
        "dicom" if name in STACKED else "one view",
        change,
        words,
        may=MAY.get(name, ()),
        labelled=name not in UNLABELLED,
    )
    for name, (words, change) in (EXPORTS | DRIVES).items()
]
