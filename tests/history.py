"""History: what the store wrote down of a set of jobs, checked for what must never happen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepsmile.store.database import Database
from deepsmile.store.jobs import list_events
from deepsmile.wire import ENDED, RUNNING, JobState


@dataclass(frozen=True)
class Verdict:
    """Jobs that went wrong; both empty when all is well."""

    lost: list[str]
    """Acknowledged, and without an end."""
    ended_twice: list[str]


def judge(url: str, job_ids: Iterable[str]) -> Verdict:
    """Read the history of acknowledged jobs."""
    database = Database(url)
    lost, twice = [], []
    for job_id in job_ids:
        states = [event.state for event in list_events(database, job_id, 0)]
        ends = [at for at, state in enumerate(states) if state in ENDED]
        if not ends:
            lost.append(job_id)
        if len(ends) > 1 or (ends and ends[-1] != len(states) - 1):
            twice.append(job_id)
    database.close()
    return Verdict(lost, twice)


@dataclass(frozen=True)
class Recovery:
    """A job that a kill took from its worker, in seconds from the kill."""

    waiting_s: float
    """Until it was there for the next worker."""
    claimed_s: float
    """Until that worker had it, after the jobs before it."""


def recoveries(url: str, job_ids: Iterable[str], kills: Sequence[float]) -> list[Recovery]:
    """What became of jobs whose worker was killed."""
    database = Database(url)
    found = []
    for job_id in job_ids:
        events = list_events(database, job_id, 0)
        for before, back, after in zip(events, events[1:], events[2:], strict=False):
            if before.state in RUNNING and back.state is JobState.ACCEPTED:
                causes = [at for at in kills if before.at - 1 <= at <= back.at]
                found += [Recovery(back.at - at, after.at - at) for at in causes[-1:]]
    database.close()
    return found
