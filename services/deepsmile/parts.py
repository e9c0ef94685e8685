"""Parts: the files that one slide consists of, all of them in its digest, no other one read."""

from pathlib import Path

MRXS = ".mrxs"


def parts_of(path: Path) -> dict[str, Path]:
    """Files by name: of a folder all, of an .mrxs those in the folder beside it too, else one."""
    if path.is_dir():
        return _below(path, path)
    data = data_folder(path)
    return {path.name: path} | (_below(data, path.parent) if data else {})


def data_folder(path: Path) -> Path | None:
    """The folder with an .mrxs file's pixels: it lies beside the file and has its name."""
    folder = path.with_suffix("")
    return folder if path.suffix.lower() == MRXS and folder.is_dir() else None


def _below(folder: Path, root: Path) -> dict[str, Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path for path in files}
