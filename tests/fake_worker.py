"""A real worker with a scorer that does what the slide says, for tests of the queue.

The slide is JSON: {"steps": 10, "step_s": 0.02, "dies": false}. Run `python -m tests.fake_worker`.
"""

import json
import os
import signal
import time

from deepsmile.api.examples import EXAMPLES
from deepsmile.report import Report
from deepsmile.scorer import Scorer, Work
from deepsmile.settings import Settings
from deepsmile.stages import Progress
from deepsmile.worker import run_worker


def make_scorer(_settings: Settings) -> Scorer:
    return score


def score(work: Work, progress: Progress) -> Report:
    """Take the steps, or kill the process that runs this."""
    order = json.loads(work.slide.path.read_text())
    if order.get("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    steps = order.get("steps", 1)
    for done in range(steps):
        progress("encoding", done, steps)
        time.sleep(order.get("step_s", 0.0))
    report = Report.model_validate(EXAMPLES["report"])
    run = report.run.model_copy(update={"job_id": work.job_id})
    return report.model_copy(update={"run": run})


if __name__ == "__main__":
    raise SystemExit(run_worker(Settings(), make_scorer))
