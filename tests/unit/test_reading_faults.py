"""Reading: a process per slide, whose death is one slide's error and nobody else's."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deepsmile.errors import (
    ReaderKilled,
    SlideError,
    SlideTimeout,
    SlideTooLarge,
    SlideUnreadable,
)
from deepsmile.frames import ReadCount, ReadRequest
from deepsmile.reader_host import END_S, ReaderHost
from deepsmile.reading import Reader
from tests import hostile
from tests.readers import CONTRACT, children, limits, scratch_files, started


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Reader]:
    """A reader that waits half a second for the next frame."""
    own = Reader(limits(tmp_path, stall_s=0.5), batch=4)
    own.start()
    yield own
    own.close()


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL"])
def test_a_crash_is_an_unreadable_slide_that_names_the_signal(
    slide_path: Path, reader: Reader, name: str
) -> None:
    """READERS 4.2: decoders crash on valid files; the service lives."""
    events, child = started(reader, slide_path)
    child.send_signal(signal.Signals[name])
    with pytest.raises(SlideUnreadable, match=f"the reader process died of {name}"):
        list(events)
    assert list(reader.read(slide_path, CONTRACT))


def test_a_kill_from_outside_is_worth_another_try(slide_path: Path, reader: Reader) -> None:
    """The kernel's killer takes a process for the machine's sake, not for the slide's."""
    events, child = started(reader, slide_path)
    child.kill()
    with pytest.raises(ReaderKilled) as killed:
        list(events)
    assert killed.value.retryable
    assert list(reader.read(slide_path, CONTRACT))


@pytest.mark.slow
def test_silence_is_a_timeout_and_the_silent_process_is_killed(
    slide_path: Path, impatient: Reader
) -> None:
    events, child = started(impatient, slide_path)
    child.suspend()
    began = time.monotonic()
    with pytest.raises(SlideTimeout, match=r"sent nothing for 0\.5 s"):
        list(events)
    assert 0.4 < time.monotonic() - began < 2
    assert not child.is_running()
    assert scratch_files(impatient) == []
    assert list(impatient.read(slide_path, CONTRACT))


@pytest.mark.slow
def test_a_slow_caller_is_no_silence(slide_path: Path, impatient: Reader) -> None:
    """The reader waits as long as the encoder needs; only its own silence counts."""
    events, _child = started(impatient, slide_path)
    time.sleep(0.7)
    assert isinstance(list(events)[-1], ReadCount)


@pytest.mark.slow
def test_the_cpu_limit_is_a_timeout_that_says_so(tmp_path: Path) -> None:
    """Not a kill from outside: that would be tried again, and burn the same CPU again."""
    path = hostile.write_endless(tmp_path / "slide.tif", 60)
    own = Reader(limits(tmp_path, cpu_s=1), batch=4)
    with pytest.raises(SlideTimeout, match="used up its 1 s of CPU time") as timeout:
        list(own.read(path, CONTRACT))
    assert "DEEPSMILE_READER_CPU_S" in timeout.value.hint
    own.close()


@pytest.mark.slow
def test_the_memory_limit_ends_one_process_only(tmp_path: Path, slide_path: Path) -> None:
    own = Reader(limits(tmp_path, memory_bytes=100 << 20), batch=4)
    own.start()
    host = own.host_pid
    for _ in range(2):
        with pytest.raises(SlideTooLarge, match="more than its 104857600 bytes of memory") as short:
            list(own.read(slide_path, CONTRACT))
        assert "DEEPSMILE_READER_MEMORY_BYTES" in short.value.hint
    assert own.host_pid == host
    own.close()


@pytest.mark.parametrize(
    "words",
    [
        "MemoryError",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 768. KiB for an array",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "GLib-ERROR **: glib/gmem.c:106: failed to allocate 67108864 bytes",
        "cv2.error: alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 786432 bytes",
    ],
)
def test_out_of_memory_is_told_in_many_words(slide_path: Path, reader: Reader, words: str) -> None:
    """Seen of Python, numpy, cuCIM, OpenSlide and OpenCV under a low limit."""
    events, child = started(reader, slide_path)
    with Path(f"/proc/{child.pid}/fd/2").open("ab") as stderr:
        stderr.write(f"{words}\n".encode())
    child.send_signal(signal.SIGABRT)
    with pytest.raises(SlideTooLarge):
        list(events)


def assert_reads_again(reader: Reader, path: Path) -> None:
    """At worst the one reading that finds the host dying is told to try again."""
    with contextlib.suppress(ReaderKilled):
        list(reader.read(path, CONTRACT))
    assert isinstance(list(reader.read(path, CONTRACT))[-1], ReadCount)


@pytest.mark.slow
def test_without_its_host_a_reading_ends_and_the_next_has_another(
    slide_path: Path, tmp_path: Path
) -> None:
    own = Reader(limits(tmp_path), batch=4)
    events, child = started(own, slide_path)
    assert own.host_pid is not None
    psutil.Process(own.host_pid).kill()
    child.kill()
    with pytest.raises(ReaderKilled):
        list(events)
    assert_reads_again(own, slide_path)
    own.close()


@pytest.mark.slow
def test_a_reader_that_cannot_be_killed_is_left_behind(slide_path: Path, tmp_path: Path) -> None:
    """On a dead mount it waits in the kernel, and its host waits for it: here both are stopped."""
    own = Reader(limits(tmp_path, stall_s=0.5), batch=4)
    events, child = started(own, slide_path)
    first = psutil.Process(own.host_pid)
    first.suspend()
    child.suspend()
    began = time.monotonic()
    with pytest.raises(SlideTimeout, match=r"sent nothing for 0\.5 s"):
        list(events)
    assert time.monotonic() - began < 0.5 + 2 * END_S
    assert not first.is_running()
    assert isinstance(list(own.read(slide_path, CONTRACT))[-1], ReadCount)
    own.close()


def test_a_host_that_does_not_fork_is_given_up(slide_path: Path, tmp_path: Path) -> None:
    host = ReaderHost(fork_s=0.3)
    psutil.Process(host.pid).suspend()
    request = ReadRequest(
        path=str(slide_path),
        scratch=str(tmp_path),
        contract=CONTRACT,
        mpp=None,
        batch=0,
        overview=False,
        memory_bytes=1 << 30,
        cpu_s=10,
    )
    with pytest.raises(ReaderKilled, match="or is stuck") as stuck, host.fork(request):
        pass
    assert stuck.value.retryable
    assert not host.is_alive


@pytest.mark.slow
def test_a_host_killed_between_two_slides_is_replaced(slide_path: Path, tmp_path: Path) -> None:
    own = Reader(limits(tmp_path), batch=4)
    list(own.read(slide_path, CONTRACT))
    first = own.host_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert_reads_again(own, slide_path)
    assert own.host_pid != first
    own.close()


@pytest.mark.slow
def test_closing_ends_the_host_and_the_next_slide_starts_another(
    slide_path: Path, tmp_path: Path
) -> None:
    own = Reader(limits(tmp_path), batch=4)
    list(own.read(slide_path, CONTRACT))
    first = own.host_pid
    own.close()
    assert own.host_pid is None
    assert not psutil.pid_exists(first or 0)
    assert list(own.read(slide_path, CONTRACT))
    own.close()


def test_an_abandoned_reading_leaves_nothing_behind(slide_path: Path, reader: Reader) -> None:
    """No process, no zombie, no file, no lock."""
    archive = reader.limits.scratch.parent / "slide.zip"
    hostile.zip_of(archive, {"slide.svs": slide_path})
    events, child = started(reader, archive)
    assert [path.name for path in scratch_files(reader) if path.is_file()] == ["slide.svs"]
    began = time.monotonic()
    events.close()
    assert time.monotonic() - began < 1
    assert not child.is_running()
    assert children(reader) == []
    assert scratch_files(reader) == []
    assert list(reader.read(slide_path, CONTRACT))


@pytest.mark.slow
def test_fifty_readings_leak_neither_files_nor_processes(
    slide_path: Path, tmp_path: Path, reader: Reader
) -> None:
    """READERS 4.5: cuCIM leaks a descriptor per failed open; it dies with its process."""
    broken = tmp_path / "broken.svs"
    broken.write_bytes(slide_path.read_bytes()[:5000])
    list(reader.read(slide_path, CONTRACT))
    here, there = open_files("self"), open_files(str(reader.host_pid))
    for index in range(50):
        match index % 3:
            case 0:
                list(reader.read(slide_path, CONTRACT, tiles=False))
            case 1:
                with pytest.raises(SlideError):
                    list(reader.read(broken, CONTRACT))
            case _:
                next(reader.read(slide_path, CONTRACT))
    assert open_files("self") == here
    assert open_files(str(reader.host_pid)) <= there + 1  # it closes the last one a moment later
    assert children(reader) == []
    assert scratch_files(reader) == []


def open_files(process: str) -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def test_ctrl_c_in_the_terminal_is_not_for_the_readers(slide_path: Path, reader: Reader) -> None:
    """It goes to the whole process group: a worker that finishes its slide needs its reader."""
    events, child = started(reader, slide_path)
    assert {os.getpgid(child.pid), os.getpgid(reader.host_pid or 0)} & {os.getpgid(0)} == set()
    events.close()


@pytest.mark.slow
def test_readers_do_not_outlive_the_process_that_wants_them(
    slide_path: Path, tmp_path: Path
) -> None:
    """Killed without a chance to tidy up: the host and its reader find their pipes closed."""
    code = f"""
from pathlib import Path
from deepsmile.reading import Reader
from tests.readers import limits, started
events, child = started(Reader(limits(Path({str(tmp_path)!r})), 4), Path({str(slide_path)!r}))
print(child.pid, child.ppid(), flush=True)
import time
time.sleep(60)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        processes = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        parent.kill()
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
