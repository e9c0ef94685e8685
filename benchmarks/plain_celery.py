"""Plain Celery, as its manual has it for tasks that must not be lost; the baseline.

Run by benchmarks/queue_faults.py as `python -m benchmarks.plain_celery URL LOG`.
"""

import logging
import os
import sys
import time
from pathlib import Path

from celery import Celery

TASK_S = 0.01
VISIBILITY_S = 4


def make_app(url: str, log: Path) -> Celery:
    """One task, acknowledged late; it writes down that it ran."""
    app = Celery("plain", broker=url, set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_S,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        },
    )

    @app.task(name="plain.run")
    def run(number: int) -> None:
        time.sleep(TASK_S)
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{number}\n".encode())
        os.close(handle)

    return app


if __name__ == "__main__":
    make_app(sys.argv[1], Path(sys.argv[2])).Worker(
        loglevel=logging.WARNING, quiet=True, without_gossip=True, without_mingle=True
    ).start()
