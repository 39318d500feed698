"""Defects of DICOM folders in names and wrappings: patients' ages, text, paths of files, what is around a data set."""

from pathlib import PurePosixPath

from cmrlib.phantom.formats.dicom_headers import set_tag
from cmrlib.phantom.formats.registry import as_bytes, defect, other
from cmrlib.phantom.formats.source import File, encode

# --- who -------------------------------------------------------------------------------------------------------------


def _age(source, text, years):
    source.participant["age"] = years
    return set_tag(source, "PatientAge", text)


@defect("dicom", "read", rows="1a-21")
def age_in_months(source, rng):
    """The age is 030M."""
    return _age(source, "030M", 2.5)


@defect("dicom", "read", rows="1a-21")
def age_in_weeks(source, rng):
    """The age is 026W."""
    return _age(source, "026W", 0.5)


@defect("dicom", "read", rows="1a-21")
def age_empty(source, rng):
    """The age is empty."""
    return _age(source, "", None)


@defect("dicom", "read", rows="1a-22 r-30")
def unknown_character_set(source, rng):
    """Text is in a character set that does not exist, and not ASCII."""
    set_tag(source, "PatientName", "MARKED^Bj\xf6rn")
    return set_tag(source, "SpecificCharacterSet", "ISO_IR 999")


@defect("dicom", "read", rows="1a-22")
def numbers_too_long(source, rng):
    """Decimal strings are longer than the 16 characters that are allowed."""
    return set_tag(
        source, "ImagePositionPatient", lambda file: [f"{float(x):.17f}" for x in file.content.ImagePositionPatient]
    )


# --- paths -----------------------------------------------------------------------------------------------------------


@defect("dicom", "read", rows="r-30")
def odd_names(source, rng):
    """Folders have spaces, accents, brackets and quotes in their names, files have no suffix."""
    for file in source.images():
        *folders, name = file.path.split("/")[1:]
        odd = ["Série n° 4 – «cœur» [é] 'x'", *folders]
        file.path = "/".join([source.folder, *odd, name.removesuffix(".dcm")])
    return source.cines


@defect("dicom", "read", rows="r-30")
def long_paths(source, rng):
    """Files lie so deep that their paths have more than 300 characters."""
    for file in source.images():
        file.path = file.path.replace("/", "/" + "/".join(["d" * 110] * 3) + "/", 1)
    return source.cines


@defect("dicom", "read", rows="1b-2")
def folder_is_a_number(source, rng):
    """The subject's folder is named by seven digits."""
    for file in source.files:
        file.path = f"9000007/{file.path.partition('/')[2]}"
    return source.cines


@defect("dicom", "read", rows="r-31")
def link_to_itself(source, rng):
    """A link in the folder points to the folder."""
    source.files.append(File(f"{source.folder}/again", PurePosixPath("..") / source.folder))
    return source.cines


@defect("dicom", "read", rows="r-8", late=2)
def no_preamble(source, rng):
    """A long-axis cine's files lack preamble and meta header, as old archives wrote them."""
    cine = other(source, rng)
    for file in source.images(cine):
        content = as_bytes(file)
        length = int.from_bytes(content[140:144], "little")  # of the meta header, (0002,0000) at 132
        file.content = content[144 + length :]
    return [cine]


@defect("dicom", "read", rows="r-8", late=2)
def bytes_behind_the_end(source, rng):
    """A long-axis cine's files are padded with zeros to whole blocks of 512 bytes."""
    cine = other(source, rng)
    for file in source.images(cine):
        content = encode(file)
        file.content = content + b"\0" * (-len(content) % 512)
    return [cine]
