"""Doorbell: tells workers that a job waits. It may ring twice or not at all; the store decides.

Celery over Redis or Valkey. A message holds the id of a job and nothing else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from deepsmile.errors import BrokerUnavailable
from deepsmile.settings import Settings

TASK = "deepsmile.score"
QUEUE = "deepsmile"


def make_celery(settings: Settings) -> Celery:
    """The Celery application, for those who ring and those who hear; connects to nothing yet."""
    app = Celery("deepsmile", broker=settings.broker, backend=None, set_as_current=False)
    app.conf.update(
        # The store holds every state and every result.
        task_ignore_result=True,
        task_default_queue=QUEUE,
        # One message at a time, held until its job was dealt with; the sweeper owns retries.
        task_acks_late=True,
        task_acks_on_failure=True,
        task_acks_on_timeout=True,
        task_reject_on_worker_lost=False,
        task_retry_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_max_tasks_per_child=100,
        task_time_limit=settings.job_limit_s,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(settings),
        # No events, no remote control: neither carries a slide's name, neither is needed.
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


def _transport_options(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {
        # Messages are gone once they are fetched: the store, not the broker, knows which jobs are
        # done. With kombu's acknowledgements over Redis, one that fails because the broker is
        # away keeps its place for ever, and a worker that takes one message at a time falls silent.
        "ack_emulation": False,
        "health_check_interval": 5,
        "socket_timeout": 5,
        "socket_connect_timeout": 1,
        # For those who ring: give up soon, the outbox remembers.
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.2,
    }
    # redis-py refuses this option on a Unix socket.
    return options if "socket://" in settings.broker else {**options, "socket_keepalive": True}


class Doorbell:
    """Rings for jobs; safe to share between threads."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def ring(self, job_ids: list[str]) -> None:
        """Send one message per job.

        Raises:
            BrokerUnavailable: some or all were not sent; ringing again does no harm.
        """
        with _translated(), self._app.producer_pool.acquire(block=True) as producer:
            for job_id in job_ids:
                self._app.send_task(TASK, args=(job_id,), producer=producer, retry=False)

    def count(self) -> int:
        """Messages that no worker has fetched yet.

        Raises:
            BrokerUnavailable: nobody knows.
        """
        with _translated(), self._app.connection_for_write() as connection:
            return int(connection.default_channel.queue_declare(QUEUE).message_count)

    def close(self) -> None:
        """Close the connections."""
        self._app.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, OSError) as error:
        raise BrokerUnavailable(f"the broker does not answer: {error}") from error
