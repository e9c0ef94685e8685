"""Install: which server is found, and what is said when there is none."""

import sys
from pathlib import Path

import pytest

from deepsmile.errors import BackendMissing
from deepsmile.triton.install import OUR_BACKEND, STUB, Installation, find_triton

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def make(*paths: Path) -> None:
    """Empty files that can be run."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """What pip unpacks."""
    root = tmp_path / "package/pytriton/tritonserver"
    stubs = [root / f"python_backend_stubs/{version}/{STUB}" for version in ("3.8", PYTHON)]
    make(root / "bin/tritonserver", root / "backends/python/libtriton_python.so", *stubs)
    return tmp_path / "package"


def test_a_folder_that_pip_unpacked_to_is_found(package: Path) -> None:
    found = find_triton(str(package))
    assert found.program == package / "pytriton/tritonserver/bin/tritonserver"
    assert found.libraries == package / "nvidia_pytriton.libs"
    assert str(found.libraries) in found.environment()["LD_LIBRARY_PATH"].split(":")
    assert found.environment()["PATH"].startswith(f"{Path(sys.executable).parent}:")


def test_one_on_the_path_goes_before_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "opt/tritonserver/bin/tritonserver"
    make(program)
    monkeypatch.setenv("PATH", str(program.parent))
    assert find_triton() == Installation(program, tmp_path / "opt/tritonserver", None)


@pytest.mark.parametrize("given", ["nowhere", "empty"])
def test_none_is_told_with_what_to_install(tmp_path: Path, given: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackendMissing) as caught:
        find_triton(str(tmp_path / given))
    assert "make triton" in caught.value.hint


def test_a_server_that_can_run_onnx_keeps_its_backends(tmp_path: Path) -> None:
    root = tmp_path / "tritonserver"
    make(root / "bin/tritonserver", root / "backends/onnxruntime/libtriton_onnxruntime.so")
    assert find_triton(str(root / "bin/tritonserver")).backends(tmp_path) == root / "backends"


def test_another_is_given_ours_in_real_files(package: Path, tmp_path: Path) -> None:
    """Triton refuses links that lead out of the folder."""
    for _ in range(2):
        made = find_triton(str(package)).backends(tmp_path / "home")
    files = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert files == {"python/libtriton_python.so", f"python/{STUB}", "onnxruntime/model.py"}
    assert (made / "onnxruntime/model.py").read_bytes() == OUR_BACKEND.read_bytes()
    assert not any(path.is_symlink() for path in made.rglob("*"))


def test_a_package_without_a_stub_for_this_python_is_told(package: Path, tmp_path: Path) -> None:
    (package / "pytriton/tritonserver/python_backend_stubs" / PYTHON / STUB).unlink()
    with pytest.raises(BackendMissing, match=f"no backend stub for Python {PYTHON}"):
        find_triton(str(package)).backends(tmp_path / "home")
