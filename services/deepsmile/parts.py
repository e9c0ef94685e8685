"""Parts: the files that one slide consists of, all of them in its digest, no other one read."""

from pathlib import Path
from stat import S_ISDIR, S_ISREG

from deepsmile.errors import SlideUnsupported

MRXS = ".mrxs"
NO_FILE = "Name a slide's file or its folder; write what a pipe or a device gives to a file first."


def parts_of(path: Path) -> dict[str, Path]:
    """Files by name: of a folder all, of an .mrxs those in the folder beside it too, else one.

    Raises:
        SlideUnsupported: neither a file nor a folder.
    """
    check_kind(path)
    if path.is_dir():
        return _below(path, path)
    data = data_folder(path)
    return {path.name: path} | (_below(data, path.parent) if data else {})


def check_kind(path: Path) -> None:
    """Raises SlideUnsupported for a pipe, a socket or a device: reading it might never end."""
    try:
        mode = path.stat().st_mode
    except OSError:  # not there, or not for us: whoever opens it says so
        return
    if not (S_ISREG(mode) or S_ISDIR(mode)):
        raise SlideUnsupported("neither a file nor a folder", hint=NO_FILE)


def data_folder(path: Path) -> Path | None:
    """The folder with an .mrxs file's pixels: it lies beside the file and has its name."""
    folder = path.with_suffix("")
    return folder if path.suffix.lower() == MRXS and folder.is_dir() else None


def _below(folder: Path, root: Path) -> dict[str, Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path for path in files}
