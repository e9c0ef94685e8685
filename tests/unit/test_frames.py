"""Frames: what crosses the pipe arrives as it was sent."""

import json
import math
import os
from threading import Thread

import numpy as np
import pytest
from pydantic import ValidationError

from deepsmile.frames import HEADER, ReadRequest, SlideFacts, write_frame
from tests.making import feature_contract


def sent(kind: str, body: dict[str, object], payload: bytes) -> bytes:
    """Everything that `write_frame` puts into a pipe."""
    receive, send = os.pipe()
    received = bytearray()

    def listen() -> None:
        while chunk := os.read(receive, 1 << 16):
            received.extend(chunk)

    listener = Thread(target=listen)
    listener.start()
    write_frame(send, kind, body, memoryview(payload))
    os.close(send)
    listener.join()
    os.close(receive)
    return bytes(received)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3 << 20])
def test_a_frame_is_two_sizes_a_json_and_a_payload_of_any_size(size: int) -> None:
    """Larger than the pipe, too: it is written whole, however often the pipe is full."""
    payload = np.random.default_rng(0).bytes(size)
    data = sent("tiles", {"cells": [[1, 2]]}, payload)
    text_size, payload_size = HEADER.unpack(data[: HEADER.size])
    text = data[HEADER.size : HEADER.size + text_size]
    assert json.loads(text) == {"kind": "tiles", "cells": [[1, 2]]}
    assert payload_size == size
    assert data[HEADER.size + text_size :] == payload


def request(mpp: float | None) -> ReadRequest:
    return ReadRequest(
        path='/slides/Jansen "é" ñ.svs',
        scratch="/scratch",
        contract=feature_contract(),
        mpp=mpp,
        batch=4,
        overview=False,
        memory_bytes=1 << 32,
        cpu_s=60,
    )


@pytest.mark.parametrize("mpp", [None, 0.25, 1 / 3, math.inf])
def test_a_request_arrives_as_it_was_made(mpp: float | None) -> None:
    asked = request(mpp)
    assert ReadRequest.model_validate_json(asked.model_dump_json()) == asked


def test_a_requested_mpp_of_nan_does_not_arrive_as_none() -> None:
    """JSON's null would mean "take the file's", and the slide would be scored at its scale."""
    again = ReadRequest.model_validate_json(request(math.nan).model_dump_json())
    assert again.mpp is not None
    assert math.isnan(again.mpp)


def test_the_contract_s_digest_survives_the_way() -> None:
    """HOUSE STYLE 10: the features are stamped with the digest that the parent has."""
    asked = request(None)
    again = ReadRequest.model_validate_json(asked.model_dump_json())
    assert again.contract.digest == asked.contract.digest


def test_facts_with_an_unknown_key_are_refused() -> None:
    with pytest.raises(ValidationError):
        SlideFacts.model_validate({"reader": "x", "spare": 1})
