"""Multipart forms, however their bytes are cut."""

import asyncio
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from deepsmile.errors import BodyTooLarge, DeepSmileError, RequestInvalid
from deepsmile.forms import MAX_OVERHEAD_BYTES, SlideForm
from deepsmile.uploads import Upload, UploadLimits

BOUNDARY = "X-boundary"
NAMES = ("bundle", "mpp", "fresh")


def part(name: str, value: bytes, filename: str = "") -> bytes:
    """One field of a form."""
    shown = f'; filename="{filename}"' if filename else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n'
    kind = "Content-Type: application/octet-stream\r\n" if filename else ""
    return (head + kind + "\r\n").encode() + value + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
ODD_HEADER = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name*0*\n="x"\r\n\r\n\r\n'.encode()
"""Makes the standard library's parser of headers look past the end of a string."""
FILE = part("file", b"slide bytes", "JANE DOE.svs")


def parse(
    folder: Path, body: bytes, step: int = 1000, max_bytes: int = 1 << 20
) -> tuple[bytes, dict[str, str]]:
    """The file and the fields of a form that comes in pieces of `step` bytes."""

    async def go() -> tuple[bytes, dict[str, str]]:
        async with Upload(folder, "job", UploadLimits(max_bytes, 0)) as upload:
            form = SlideForm(f"multipart/form-data; boundary={BOUNDARY}", upload, NAMES)
            for at in range(0, len(body), step):
                form.feed(body[at : at + step])
                await upload.settle()
            fields = form.finish()
            return (await upload.land()).path.read_bytes(), fields

    return asyncio.run(go())


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_the_file_and_the_fields_arrive_in_any_order_and_pieces(tmp_path: Path, step: int) -> None:
    fields = {"mpp": "0.25", "bundle": "demo"}
    body = part("mpp", b"0.25") + FILE + part("bundle", b"demo") + END
    assert parse(tmp_path, body, step) == (b"slide bytes", fields)


@settings(max_examples=60)
@given(
    content=st.lists(
        st.sampled_from([b"\r", b"\n", b"-", b"--", BOUNDARY.encode(), b"x" * 40, b"\0\xff"]),
        min_size=1,
        max_size=60,
    ).map(b"".join),
    step=st.integers(1, 200),
)
def test_bytes_that_look_like_boundaries_are_kept(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, step: int
) -> None:
    if f"\r\n--{BOUNDARY}".encode() in b"\r\n" + content:
        return  # then it is one
    folder = tmp_path_factory.mktemp("form")
    assert parse(folder, part("file", content, "a") + END, step) == (content, {})


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (part("mpp", b"1") + END, "no field 'file'"),
        (FILE + FILE + END, "more than one file"),
        (part("mpp", b"1") + part("mpp", b"2") + FILE + END, "'mpp' more than once"),
        (FILE + part("mmp", b"1") + END, "unexpected part 'mmp'"),
        (part("bundle", b"x" * 2000) + FILE + END, "too long"),
        (FILE, "ends before"),
        (FILE + part("mpp", b"0.25")[:-8], "ends before"),
        (b"no form at all", "cannot be read"),
        (b"--other\r\n" + FILE + END, "cannot be read"),
        (ODD_HEADER + FILE + END, "cannot be read"),
    ],
)
def test_a_form_that_is_wrong_is_refused_and_leaves_nothing(
    tmp_path: Path, body: bytes, complaint: str
) -> None:
    with pytest.raises(RequestInvalid, match=complaint):
        parse(tmp_path, body)
    assert list(tmp_path.iterdir()) == []


def test_a_form_without_a_boundary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid):
        SlideForm("multipart/form-data", Upload(tmp_path, "job", UploadLimits(1, 0)), NAMES)


@pytest.mark.parametrize("start", [b"--", f"--{BOUNDARY}\r\nX: ".encode()])
def test_endless_headers_are_not_gathered_in_memory(tmp_path: Path, start: bytes) -> None:
    with pytest.raises(RequestInvalid, match="too much around"):
        parse(tmp_path, start + b"x" * (3 * MAX_OVERHEAD_BYTES))


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BodyTooLarge):
        parse(tmp_path, part("file", b"x" * 5000, "a") + END, max_bytes=4999)


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_form_is_refused_with_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    body = bytearray(part("mpp", b"0.25") + FILE + END)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
    try:
        parse(tmp_path_factory.mktemp("form"), bytes(body))
    except DeepSmileError as error:
        assert error.code in ("request_invalid", "slide_empty")  # noqa: PT017
