"""What zip tools, converters and annotation tools make of files."""

import gzip
import zipfile

import numpy as np
from corpus.nifti import image_of
from corpus.nifti_defects import edit
from corpus.registry import as_bytes
from corpus.source import File

from attacks import Attack
from attacks.archives import archive_of
from attacks.files import file
from attacks.nifti import beside, four, masked, packed, people, sidecar, stored

# --- zips of UK Biobank ----------------------------------------------------------------------------------------------


def streamed(place):
    """Zipped by a tool that could not seek: sizes stand behind the members."""
    path = archive_of(place, "20208")

    class Pipe:
        def __init__(self, stream):
            self.stream = stream

        def write(self, content):
            return self.stream.write(content)

        def flush(self):
            self.stream.flush()

    _zipped_again(path, lambda stream: zipfile.ZipFile(Pipe(stream), "w", zipfile.ZIP_DEFLATED))


def _zipped_again(path, opened, name=lambda name: name, zip64=False, comment=b""):
    with zipfile.ZipFile(path) as old:
        members = [(one.filename, old.read(one)) for one in old.infolist()]
    with path.open("wb") as stream, opened(stream) as new:
        new.comment = comment
        for one, content in members:
            with new.open(zipfile.ZipInfo(name(one)), "w", force_zip64=zip64) as member:
                member.write(content)


def again(**options):
    def changed(place):
        _zipped_again(archive_of(place, "20208"), lambda stream: zipfile.ZipFile(stream, "w"), **options)

    return changed


ZIPS = {
    "streamed_zip": ("", streamed),
    "zip64": ("", again(zip64=True)),
    "zip_comment_of_65535": ("", again(comment=b"x" * 65535)),
    "zip_of_windows": ("", again(name=lambda name: "images\\" + name if "manifest" not in name else name)),
    "zip_of_a_mac": ("", again(name=lambda name: f"9000001_20208_2_0/{name}")),
    "split_zip": ("belongs to no subject", file("9000001_20208_2_0.z01", b"PK")),
}

# --- NIfTI: converters and annotation tools --------------------------------------------------------------------------


def label_map(name):
    """A tool's label map under a name that says nothing of masks."""
    return lambda place: masked(place, name=name)


def extension(content):
    """A NIfTI extension (a comment) between header and pixels."""

    def changed(raw):
        raw = bytearray(gzip.decompress(raw))
        body = content + bytes(-(len(content) + 8) % 16)
        raw[108:112] = np.float32(352 + 8 + len(body)).tobytes()
        raw[348:352] = b"\1\0\0\0"
        block = (8 + len(body)).to_bytes(4, "little") + (6).to_bytes(4, "little") + body
        return gzip.compress(bytes(raw[:352]) + block + bytes(raw[352:]))

    return packed(changed)


def frames_apart(place):
    """Every frame a file, numbers not padded, in a folder of its own."""
    one = four(place)
    array = np.asarray(one.content.dataobj).T
    place.source.remove([one])
    for t, frame in enumerate(array):
        place.source.files.append(
            File(f"{place.source.folder}/4ch_dynamic{t + 1}.nii.gz", image_of(frame, one.content.affine))
        )


def names_in_header(place):
    edit(four(place), descrip=b"MARKED^Anna", db_name=b"MARKED", aux_file=b"MARKED")


def slicer_files(place):
    beside("x.seg.nrrd", b"NRRD0004")(place)
    beside("x.mrml", b"<MRML/>")(place)


def bids_of_others(place):
    for one in place.source.files:
        one.path = f"sub-P0001/ses-1/func/sub-P0001_ses-1_task-rest_{one.path.split('/')[-1]}"


def further(path, content):
    """A further file anywhere in the source; content: of the place."""
    return lambda place: place.source.files.append(File(path, content(place)))


def nothing_of_a_heart(place):
    return image_of(np.zeros((6, 1, 9, 9), np.int16), np.eye(4))


NAMES = {"PatientName": "MARKED^Anna", "PatientBirthDate": "19010101", "AcquisitionDateTime": "19000101"}


def blocks(content):
    raw = gzip.decompress(content)
    return b"".join(gzip.compress(raw[at : at + 5000]) for at in range(0, len(raw), 5000))


TOOLS = {
    "names_in_the_header": ("", names_in_header),
    "names_in_an_extension": ("", extension(b"MARKED^Anna 19010101")),
    "names_in_the_sidecar": ("", sidecar(**NAMES)),
    "qfac_of_0": ("", lambda place: edit(four(place), pixdim={0: 0.0})),
    "cal_and_intent": ("", lambda place: edit(four(place), cal_max=1.0, intent_code=1002)),
    "step_of_a_repetition_time": ("time", lambda place: edit(four(place), pixdim={4: 0.0028})),
    "gzip_in_blocks": ("", packed(blocks)),
    "gzip_padded_with_zeros": ("", packed(lambda content: content + bytes(512))),
    "gzip_with_rubbish_behind": ("damaged|cut short", packed(lambda content: content + b"rubbish" * 9)),
    "label_map_untitled": ("label map", label_map("Untitled.nii.gz")),
    "label_map_called_lv": ("label map", label_map("LV endo.nii.gz")),
    "label_map_called_roi": ("label map", label_map("roi_anna.nii.gz")),
    "slicer_files": ("not a NIfTI", slicer_files),
    "itksnap_workspace": ("not a NIfTI", beside("x.itksnap", b"<?xml?>")),
    "copy_by_windows_nifti": ("twice", further("P0001/4ch - Copy.nii.gz", lambda place: as_bytes(four(place)))),
    "frames_numbered_without_zeros": ("time_unknown", frames_apart),
    "bids_of_others": ("", bids_of_others),
    "derivatives_beside": (
        "belongs|derivatives|no subject",
        further("derivatives/fmriprep/x.nii.gz", nothing_of_a_heart),
    ),
    "people_of_excel": ("participants.tsv", people("sep=;\nparticipant_id;sex;age\nP0001;M;2-Jan\n")),
    "people_ids_as_floats": ("", people("participant_id\tage\n1.0\t53\n")),
    "float_image_of_0_to_1": ("", stored(lambda a: (a / a.max()).astype(np.float32))),
}
MAY = {"float_image_of_0_to_1": ("pixels",), "frames_numbered_without_zeros": ("frame_step_ms", "rr_ms")}
ATTACKS = [
    Attack(name, base, change, words, may=MAY.get(name, ()), labelled=base != "ukbb" and name != "bids_of_others")
    for base, family in (("ukbb", ZIPS), ("nifti", TOOLS))
    for name, (words, change) in family.items()
]
