"""Bytes from the network to the disk: all of them or none, and no more than allowed."""

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deepsmile.errors import BodyTooLarge, SlideEmpty, StorageFull, UploadIncomplete
from deepsmile.uploads import BLOCK_BYTES, Received, Upload, UploadLimits, unbroken, upload_path

ROOMY = UploadLimits(max_bytes=1 << 30, reserve_bytes=0)


def receive(folder: Path, chunks: list[bytes], limits: UploadLimits = ROOMY) -> Received:
    """Send chunks one by one and land them."""

    async def go() -> Received:
        async with Upload(folder, "job", limits) as upload:
            for chunk in chunks:
                upload.put(chunk)
                await upload.settle()
            return await upload.land()

    return asyncio.run(go())


@pytest.mark.parametrize("size", [1, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 17])
def test_what_lands_is_what_was_sent(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    chunks = [data[at : at + 65_536] for at in range(0, size, 65_536)]
    received = receive(tmp_path / "uploads", chunks)
    assert received.path == upload_path(tmp_path / "uploads", "job")
    assert received.path.read_bytes() == data
    assert received.sha256 == hashlib.sha256(data).hexdigest()
    assert received.bytes == size


def test_nothing_is_no_slide_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SlideEmpty):
        receive(tmp_path, [b"", b""])
    assert list(tmp_path.iterdir()) == []


def test_a_body_over_the_limit_stops_at_the_byte_that_is_too_many(tmp_path: Path) -> None:
    limits = UploadLimits(max_bytes=10, reserve_bytes=0)
    assert receive(tmp_path, [b"12345", b"67890"], limits).bytes == 10
    with pytest.raises(BodyTooLarge):
        receive(tmp_path / "other", [b"12345", b"67890", b"1"], limits)
    assert list((tmp_path / "other").iterdir()) == []


def test_a_size_known_to_be_too_large_is_refused_before_any_byte(tmp_path: Path) -> None:
    async def go() -> None:
        async with Upload(tmp_path, "job", UploadLimits(10, 0)) as upload:
            upload.expect(11)

    with pytest.raises(BodyTooLarge):
        asyncio.run(go())


def test_a_size_that_leaves_too_little_room_is_refused_before_any_byte(tmp_path: Path) -> None:
    async def go() -> None:
        async with Upload(tmp_path, "job", UploadLimits(1 << 30, 1 << 62)) as upload:
            upload.expect(11)

    with pytest.raises(StorageFull):
        asyncio.run(go())


def test_the_reserve_of_the_disk_is_kept(tmp_path: Path) -> None:
    limits = UploadLimits(max_bytes=1 << 30, reserve_bytes=1 << 62)
    with pytest.raises(StorageFull) as caught:
        receive(tmp_path, [b"x"], limits)
    assert caught.value.retryable
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_while_writing_is_storage_full(tmp_path: Path) -> None:
    async def go() -> None:
        async with Upload(tmp_path, "job", ROOMY) as upload:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, upload.fileno())
            os.close(full)
            upload.put(b"x" * BLOCK_BYTES)
            await upload.land()

    with pytest.raises(StorageFull):
        asyncio.run(go())
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_is_cut_leaves_nothing(tmp_path: Path) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b"x" * (2 * BLOCK_BYTES)
        raise ConnectionResetError

    async def go() -> None:
        async with Upload(tmp_path, "job", ROOMY) as upload:
            async for chunk in cut():
                upload.put(chunk)
                await upload.settle()
            await upload.land()

    with pytest.raises(ConnectionResetError):
        asyncio.run(go())
    assert list(tmp_path.iterdir()) == []


def test_a_request_that_is_canceled_lets_its_writer_finish_first(tmp_path: Path) -> None:
    async def go() -> None:
        async with Upload(tmp_path, "job", ROOMY) as upload:
            while True:
                upload.put(b"x" * BLOCK_BYTES)
                await upload.settle()

    async def cancel() -> None:
        task = asyncio.create_task(go())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert list(tmp_path.iterdir()) == []


def test_silence_in_an_upload_ends_it() -> None:
    async def stall() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(60)
        yield b"b"

    seen: list[bytes] = []

    async def go() -> None:
        async for chunk in unbroken(stall(), idle_s=0.05):
            seen.append(chunk)

    with pytest.raises(UploadIncomplete):
        asyncio.run(go())
    assert seen == [b"a"]


def test_a_body_that_keeps_coming_is_passed_on_whole() -> None:
    async def body() -> AsyncIterator[bytes]:
        for chunk in (b"a", b"", b"b"):
            yield chunk

    async def go() -> list[bytes]:
        return [chunk async for chunk in unbroken(body(), idle_s=5)]

    assert asyncio.run(go()) == [b"a", b"", b"b"]
