"""Reading: file names may name patients, and stay out of errors."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from deepsmile.errors import (
    DeepSmileError,
    SlideError,
    SlideUnreadable,
)
from deepsmile.reading import Reader
from tests import hostile
from tests.making import tissue_image, write_tiff
from tests.readers import CONTRACT, started

PATIENT = "Jansen_1970-01-01"


def leaves_out_the_patient(error: DeepSmileError) -> bool:
    return PATIENT not in f"{error.detail} {error.hint} {error}"


def _missing(folder: Path, slide: Path) -> Path:
    return folder / f"{PATIENT}.svs"


def _text(folder: Path, slide: Path) -> Path:
    path = folder / f"{PATIENT}.svs"
    path.write_text("no slide")
    return path


def _broken_tables(folder: Path, slide: Path) -> Path:
    path = Path(shutil.copy(slide, folder / f"{PATIENT} 2 (copy).svs"))
    return hostile.patch_tag_count(path, hostile.OFFSETS, 5)


def _broken_tile(folder: Path, slide: Path) -> Path:
    image = tissue_image(1100, 1100)
    path = write_tiff(folder / f"{PATIENT}.tif", image, compression="lzw", levels=1)
    return hostile.hollow_tile(path, 12)


def _broken_dicom(folder: Path, slide: Path) -> Path:
    path = folder / PATIENT
    path.mkdir()
    (path / f"{PATIENT}.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\xff\xff")
    return path


def _zip_in_zip(folder: Path, slide: Path) -> Path:
    members: dict[str, bytes | Path] = {f"{PATIENT}/{PATIENT}.zip": b"PK\x03\x04"}
    return hostile.zip_of(folder / f"{PATIENT}.zip", members)


def _clashing_zip(folder: Path, slide: Path) -> Path:
    members: dict[str, bytes | Path] = {PATIENT: b"x", f"{PATIENT}/a.svs": slide}
    return hostile.zip_of(folder / f"{PATIENT}.zip", members)


@pytest.mark.parametrize(
    "make",
    [
        _missing,
        _text,
        _broken_tables,
        _broken_tile,
        _broken_dicom,
        _zip_in_zip,
        _clashing_zip,
    ],
)
def test_file_names_stay_out_of_errors(
    tmp_path: Path, slide_path: Path, reader: Reader, make: Any
) -> None:
    """File names may name patients: not in the detail, wherever it comes from."""
    folder = tmp_path / PATIENT
    folder.mkdir()
    with pytest.raises(SlideError) as error:
        list(reader.read(make(folder, slide_path), CONTRACT))
    assert leaves_out_the_patient(error.value), error.value.detail


def test_the_last_words_of_a_dying_process_name_nobody(
    tmp_path: Path, slide_path: Path, reader: Reader
) -> None:
    """What libraries log before they crash holds paths, whole or in part."""
    path = Path(shutil.copy(slide_path, tmp_path / f"{PATIENT}.svs"))
    events, child = started(reader, path)
    with Path(f"/proc/{child.pid}/fd/2").open("ab") as stderr:
        stderr.write(
            f"<TiffFile '{PATIENT}.svs'> {path}: cannot go on, {path.parent}/{PATIENT}2\n".encode()
        )
    child.send_signal(signal.SIGSEGV)
    with pytest.raises(SlideUnreadable, match=r"died of SIGSEGV: .*cannot go on") as error:
        list(events)
    assert leaves_out_the_patient(error.value), error.value.detail
