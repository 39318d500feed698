"""Folders as hospitals and other systems leave them: links, pipes, names, strays; and where a cohort may go."""

import os
import shutil
import socket
from pathlib import Path

from corpus import apply

from attacks import Attack, emptied

INGEST = "ingest dicom {src} {dest} --workers 1"


def first(place):
    """The first subject's folder, on disk."""
    return place.src / place.source.folder


def link(name, target):
    """A link below the source, to a path or what a function of the place gives."""

    def changed(place):
        (place.src / name).symlink_to(target(place) if callable(target) else target)

    return changed


def moved(*series, name="{}"):
    """These series folders of the first subject (all where none is named) lie elsewhere and are links."""

    def changed(place):
        away = place.root / "elsewhere"
        away.mkdir()
        for folder in sorted(first(place).iterdir()):
            if not series or any(word in folder.name for word in series):
                folder.rename(away / folder.name)
                folder.symlink_to(away / folder.name)

    return changed


def file(name, content=b"no image", at=""):
    """A further file; name may be bytes. at: below the source."""

    def changed(place):
        folder = place.src / at
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (os.fsdecode(name) if isinstance(name, bytes) else name)).write_bytes(content)

    return changed


def files(count, name="{}.txt", at=""):
    def changed(place):
        for n in range(count):
            file(name.format(n), b"%d" % n, at)(place)

    return changed


def renamed(new):
    """Another name of the first subject's folder."""
    return lambda place: first(place).rename(place.src / new)


def each_renamed(new):
    """Other names of the first subject's files: (number, old name) → new name."""

    def changed(place):
        for n, path in enumerate(sorted(first(place).rglob("*.dcm"))):
            path.rename(path.with_name(os.fsdecode(new(n, path.name))))

    return changed


def again(name):
    """The first subject's folder once more, under another name."""
    return lambda place: shutil.copytree(first(place), place.src / name, symlinks=True)


def sparse(name, size, head=b""):
    def changed(place):
        path = place.src / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.write(head)
            stream.truncate(size)

    return changed


def bound(place):
    """A socket."""
    here = Path.cwd()
    os.chdir(place.src)
    socket.socket(socket.AF_UNIX).bind("talk")
    os.chdir(here)


def deep(levels):
    def changed(place):
        path = place.src / "P0001" / "/".join(["d"] * levels)
        path.mkdir(parents=True)
        (path / "note.txt").write_text("deep down")

    return changed


def flattened(place):
    """All files of both subjects side by side, as a viewer exports them."""
    for n, path in enumerate(sorted(place.src.rglob("*.dcm"))):
        path.rename(place.src / f"{n:05d}.dcm")
    for folder in [path for path in place.src.iterdir() if path.is_dir()]:
        shutil.rmtree(folder)


def made(name, content=""):
    """A file or, ending in /, a folder beside source and cohort."""

    def changed(place):
        path = place.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text(content)

    return changed


def sources_are_a_table(place):
    lines = (place.root / ".dest.sources.tsv").read_bytes().split(b"\n")[:-1]
    wrong = [line for line in lines if line.count(b"\t") != 1]
    return f"the private map has a line {wrong[0]!r}" if wrong else ""


DICOM_HEAD = bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0\0\0\0\0"
LINKS = {
    "pipe_beside_patients": ("pipe", lambda place: os.mkfifo(place.src / "readme.txt")),
    "pipe_in_a_series": ("pipe", lambda place: os.mkfifo(first(place) / "a.dcm")),
    "socket": ("socket", bound),
    "link_to_dev_zero": ("link to what is no file", link("notes.txt", "/dev/zero")),
    "link_to_dev_zero_in_a_series": ("link to what is no file", link("P0001/a.dcm", "/dev/zero")),
    "link_to_root": ("machine's own", link("root", "/")),
    "link_to_proc": ("machine's own", link("proc", "/proc")),
    "link_to_proc_file": ("no file", link("maps", "/proc/self/maps")),
    "link_to_dev": ("machine's own", link("P0001/dev", "/dev")),
    "link_to_itself": ("link", link("loop", "loop")),
    "link_upwards": ("link", link("P0001/again", "..")),
    "link_to_nothing": ("link to what is no file", link("P0001/gone.dcm", "nowhere")),
    "links_in_a_circle": ("link", lambda place: (link("P0001/a", "b")(place), link("P0001/b", "a")(place))),
    "series_are_links": ("", moved()),
    "one_series_is_a_link": ("", moved("4ch")),
    "two_slices_are_links": ("", moved("b2", "b4")),
    "patient_is_a_link": (
        "",
        lambda place: (first(place).rename(place.root / "away"), link("P0001", place.root / "away")(place)),
    ),
    "link_to_the_other_patient": ("read already", link("P0003", lambda place: place.src / "P0002")),
    "frames_are_hard_links": ("twice", lambda place: os.link(*_two(place))),
    "frame_is_a_link_outside": ("", lambda place: _out(place)),
}


def _two(place):
    path = next(first(place).rglob("*.dcm"))
    return path, path.with_name("once more.dcm")


def _out(place):
    path = next(first(place).rglob("*.dcm"))
    path.rename(place.root / "single.dcm")
    path.symlink_to(place.root / "single.dcm")


NAMES = {
    "latin_1_name": ("belongs to no subject", file(b"M\xfcller.txt")),
    "latin_1_name_in_a_series": ("not a DICOM", file(b"M\xfcller.txt", at="P0001")),
    "latin_1_folder_of_a_patient": (
        "",
        lambda place: first(place).rename(os.fsdecode(bytes(place.src) + b"/P0001\xfc")),
    ),
    "chinese_patient": ("gives the subject label", again("心臓")),
    "two_folders_one_label": ("'P-0001', 'P_0001'|'P0001'", again("P-0001")),
    "newline_in_a_name": ("belongs to no subject", file("a\nb.txt")),
    "newline_in_all_names": ("", each_renamed(lambda n, old: f"{n}\n.dcm".encode())),
    "spaces_at_the_ends": ("", each_renamed(lambda n, old: f" {old} ".encode())),
    "no_suffix": ("", each_renamed(lambda n, old: f"IM{n}".encode())),
    "names_of_255_bytes": ("", each_renamed(lambda n, old: f"{n:04d}".encode() + b"x" * 251)),
    "names_of_emoji": ("", each_renamed(lambda n, old: f"🫀{n}.dcm".encode())),
    "names_like_options": ("", each_renamed(lambda n, old: f"--debug{n}.dcm".encode())),
    "names_with_quotes": ("", each_renamed(lambda n, old: f"$(rm -rf ~)'\"{n};.dcm".encode())),
    "upper_case_suffix": ("", each_renamed(lambda n, old: old.upper().encode())),
    "hidden_files_of_macs": ("", lambda place: apply("system_files_beside", place.source)),
    "dicomdir": ("no pixel data|directory", lambda place: apply("dicomdir_beside", place.source)),
    "deep_folders": ("50 deep", deep(60)),
    "long_paths": ("", lambda place: apply("long_paths", place.source)),
    "3000_files_of_others": ("belongs to no subject", files(3000)),
    "3000_files_of_others_in_a_series": ("not a DICOM", files(3000, at="P0001")),
    "sparse_file_of_40_GB": ("MiB|not a DICOM", sparse("P0001/large.dcm", 40 * 2**30, DICOM_HEAD)),
    "sparse_zeros_of_40_GB": ("not a DICOM|MiB", sparse("P0001/large.bin", 40 * 2**30)),
    "sparse_stray_of_40_GB": ("belongs to no subject", sparse("large.bin", 40 * 2**30)),
    "all_files_side_by_side": ("", flattened),
    "empty_folders": ("", lambda place: (place.src / "P0003" / "empty").mkdir(parents=True)),
}
RIGHT = {"newline_in_a_name": sources_are_a_table, "newline_in_all_names": sources_are_a_table}

# The name of a place that a cohort may not go to, the words of the refusal, what stands there before, the command.
PLACES = {
    "source_is_not_there": ("does not exist", lambda place: None, "ingest dicom {root}/nowhere {dest}"),
    "source_is_a_file": (
        "no folder|not a folder|is a file|directory",
        made("one.txt"),
        "ingest dicom {root}/one.txt {dest}",
    ),
    "source_is_empty": ("no subject|nothing", lambda place: emptied(place.src), INGEST),
    "source_is_empty_text": (
        "no subject|nothing|no cine",
        lambda place: (emptied(place.src), file("a.txt")(place)),
        INGEST,
    ),
    "cohort_is_the_source": ("not empty", lambda place: None, "ingest dicom {src} {src} --workers 1"),
    "cohort_in_the_source": ("", lambda place: None, "ingest dicom {src} {src}/dest --workers 1"),
    "cohort_is_a_file": ("cannot write|folder|exists", made("dest", "mine"), INGEST),
    "cohort_below_a_file": ("cannot write", made("file", "mine"), "ingest dicom {src} {root}/file/dest"),
    "cohort_not_empty": ("not empty", made("dest/mine.txt", "mine"), INGEST),
    "cohort_is_another": ("not empty|another cohort", made("dest/dataset_description.json", "{}"), INGEST),
    "cohort_is_broken_json": ("JSON", made("dest/dataset_description.json", "{"), INGEST),
    "cohort_of_others_interrupted": ("other settings|JSON|interrupted", made("dest/.ingest/plan.json", "{}"), INGEST),
    "cohort_is_a_link_to_nothing": ("cannot write", lambda place: place.dest.symlink_to("dest_there"), INGEST),
    "cohort_in_proc": ("cannot write", lambda place: None, "ingest dicom {src} /proc/dest"),
    "unknown_kind": ("unknown kind", lambda place: None, "ingest dicomm {src} {dest}"),
    "kind_climbs": ("unknown kind", lambda place: None, "ingest ../os {src} {dest}"),
    "limit_of_nothing": ("Usage|limit", lambda place: None, INGEST + " --limit 0"),
    "workers_of_nothing": ("Usage|workers", lambda place: None, "ingest dicom {src} {dest} --workers -3"),
    "view_of_none": ("NAME=VIEW", lambda place: None, INGEST + " --view sax"),
    "view_of_another": ("NAME=VIEW", lambda place: None, INGEST + " --view a=5ch"),
    "shard_of_none": ("shard|K/N", lambda place: None, INGEST + " --shard 3/2"),
    "shard_of_text": ("shard|K/N", lambda place: None, INGEST + " --shard x"),
}
ATTACKS = [
    Attack(
        name,
        "dicom" if name == "two_slices_are_links" else "one view",
        change,
        words,
        *rest,
        right=RIGHT.get(name),
        labelled=name != "all_files_side_by_side",
    )
    for name, (words, change, *rest) in (LINKS | NAMES | PLACES).items()
]
