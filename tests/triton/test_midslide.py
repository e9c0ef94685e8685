"""A server whose models change in the middle of a slide, and no request fails by it."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepsmile.backends.triton import TritonBackend
from deepsmile.bundle import Bundle
from deepsmile.digest import digest_of_slide
from deepsmile.errors import BundleMismatch, TooLittleTissue
from deepsmile.pipeline import SlideSource
from deepsmile.scorer import BundleScorer, Work
from deepsmile.settings import Settings
from deepsmile.stages import no_progress
from deepsmile.triton.connection import Transport
from deepsmile.triton.server import TritonServer
from tests.making import FEATURE_DIM
from tests.service import wait_until
from tests.triton.conftest import START_S, endpoint
from tests.triton.proxy import Proxy
from tests.triton.test_proof import lying_encoder, lying_head

pytestmark = pytest.mark.slow

Change = Callable[[TritonServer, Path], None]

SETTLED_S = 1.0
"""Until what is in flight was answered, and until a channel has connected again."""


def in_place(_server: TritonServer, served: Path) -> None:
    """A file is written over, and the server, which polls, loads it."""
    lying_encoder(served, "tiny")


def restart(server: TritonServer, served: Path) -> None:
    """While nothing is in flight: gRPC connects again without a word."""
    time.sleep(SETTLED_S)
    server.kill()
    lying_encoder(served, "tiny")
    server.start()
    server.wait_live(START_S)
    time.sleep(SETTLED_S)


def is_refused(bundle: Bundle, server: TritonServer) -> bool:
    """Whether somebody who comes now finds other models."""
    try:
        with TritonBackend(bundle, endpoint(server)):
            return False
    except BundleMismatch:
        return True


@pytest.mark.parametrize(("change", "transport"), [(in_place, "shm"), (restart, "grpc")])
def test_a_slide_is_refused_and_nothing_of_it_kept(
    own: TritonServer,
    served: Path,
    bundle: Bundle,
    big_slide: Path,
    tmp_path: Path,
    change: Change,
    transport: Transport,
) -> None:
    """As was kept of the same slide when the server had the right models."""
    settings = Settings(
        data_dir=tmp_path / "data",
        model_repository=bundle.root,
        triton_url=own.url,
        triton_transport=transport,
        triton_in_flight=2,
    )
    source = SlideSource(big_slide, digest_of_slide(big_slide))
    work = Work("1", source, bundle.name, bundle.digest, fresh=True)
    scorer, changed = BundleScorer(settings), []

    def heard(stage: str, done: int, _total: int) -> None:
        if stage == "encoding" and done >= 8 and not changed:
            changed.append(done)
            change(own, served)
            wait_until(lambda: is_refused(bundle, own), START_S)

    scorer(work, no_progress)
    kept = set(settings.features.iterdir())
    assert len(kept) == 2
    for path in kept:
        path.unlink()
    with pytest.raises(BundleMismatch, match="but gives other features"):
        scorer(work, heard)
    assert changed != []
    assert list(settings.features.iterdir()) == []


def test_a_head_that_changed_is_refused_as_well(
    own: TritonServer, served: Path, bundle: Bundle
) -> None:
    head = bundle.contract.heads[0]
    bag = np.random.default_rng(0).random((5, FEATURE_DIM), np.float32)

    def score_and_change(remote: TritonBackend) -> None:
        right, _ = remote.score(head, bag)
        lying_head(served, "tiny")
        wait_until(lambda: not np.array_equal(remote.score(head, bag)[0], right), START_S)

    with (
        pytest.raises(BundleMismatch, match="but gives other logits"),
        TritonBackend(bundle, endpoint(own)) as remote,
    ):
        score_and_change(remote)


def test_an_error_of_the_slide_is_not_covered_up_by_one_of_the_server(
    triton: TritonServer, bundle: Bundle
) -> None:
    answers = [True]

    def scored_in_vain() -> None:
        answers.clear()
        raise TooLittleTissue("the slide")

    with (
        Proxy(triton.url, lambda _, answer: answer if answers else None) as proxy,
        pytest.raises(TooLittleTissue),
        TritonBackend(bundle, endpoint(proxy, "grpc", patience_s=0)),
    ):
        scored_in_vain()
