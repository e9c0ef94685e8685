"""Install: the Triton server of this machine: NVIDIA's own, or the one in the pip package.

The package `nvidia-pytriton` holds a real server without the backend "onnxruntime"; then ours,
written in Python, takes its place. Nothing of the package itself is ever imported.
"""

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from deepsmile.errors import BackendMissing

HINT = (
    "From a checkout run `make triton`; elsewhere: pip install --no-deps --target FOLDER"
    " nvidia-pytriton==0.7.0, then set DEEPSMILE_TRITON_SERVER=FOLDER."
)
OUR_BACKEND = Path(__file__).parent / "onnxruntime_backend" / "model.py"
STUB = "triton_python_backend_stub"


@dataclass(frozen=True)
class Installation:
    """A server's program, and the folder that has its backends."""

    program: Path
    root: Path
    libraries: Path | None
    """What the program's own libraries need; None: the system has it."""

    def environment(self) -> dict[str, str]:
        """Our environment, in which the server finds its libraries, and its stub this Python."""
        found = (self.libraries, sysconfig.get_config_var("LIBDIR"), os.getenv("LD_LIBRARY_PATH"))
        path = f"{Path(sys.executable).parent}:{os.getenv('PATH', os.defpath)}"
        libraries = ":".join(str(folder) for folder in found if folder)
        return {**os.environ, "LD_LIBRARY_PATH": libraries, "PATH": path}

    def backends(self, home: Path) -> Path:
        """The folder of backends: the server's own if it can run ONNX, else one made in `home`.

        Raises:
            BackendMissing: no stub for this version of Python.
        """
        own = self.root / "backends"
        if (own / "onnxruntime").is_dir():
            return own
        made = home / "backends"
        shutil.rmtree(made, ignore_errors=True)
        # Copies, since Triton takes a link that leads out of this folder for an attack.
        shutil.copytree(own / "python", made / "python")
        shutil.copy(self._stub(), made / "python" / STUB)
        (made / "onnxruntime").mkdir()
        shutil.copy(OUR_BACKEND, made / "onnxruntime")
        return made

    def _stub(self) -> Path:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        for folder in (self.root / "python_backend_stubs" / version, self.root / "backends/python"):
            if (folder / STUB).is_file():
                return folder / STUB
        raise BackendMissing(
            f"{self.program} has no backend stub for Python {version}",
            hint="Run it with a Python from 3.10 to 3.13, or use NVIDIA's Triton image.",
        )


def find_triton(given: str = "") -> Installation:
    """The server that `given` names, else one on PATH, else the package beside this Python.

    Args:
        given: a `tritonserver`, or the folder that the package was installed to.

    Raises:
        BackendMissing: there is none.
    """
    if given:
        found = _at(Path(given))
        if found is None:
            raise BackendMissing(f"no Triton server at {given}", hint=HINT)
        return found
    on_path = shutil.which("tritonserver")
    found = _at(Path(on_path)) if on_path else _at(Path(sys.prefix) / "triton")
    if found is None:
        raise BackendMissing("no Triton server is installed", hint=HINT)
    return found


def _at(place: Path) -> Installation | None:
    if place.is_file():
        return Installation(place, place.resolve().parents[1], None)
    root = place / "pytriton" / "tritonserver"
    program = root / "bin" / "tritonserver"
    return (
        Installation(program, root, place / "nvidia_pytriton.libs") if program.is_file() else None
    )
