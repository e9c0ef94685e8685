"""Schema: the tables. Times are seconds since 1970, UTC."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
)

from deepsmile.wire import JobState

SERIAL = BigInteger().with_variant(Integer, "sqlite")
"""A big integer that SQLite, too, counts up by itself."""

STATE = Enum(
    JobState,
    native_enum=False,
    length=16,
    values_callable=lambda states: [state.value for state in states],
)

METADATA = MetaData()

JOBS = Table(
    "jobs",
    METADATA,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("state", STATE, nullable=False),
    Column("stage_done", Integer, nullable=False, server_default="0"),
    Column("stage_total", Integer, nullable=False, server_default="0"),
    # The fence: one more with every claim, and part of every write of a worker.
    Column("attempt", Integer, nullable=False, server_default="0"),
    # Workers lost and errors that may pass. A worker that stops, or has no inference, costs none.
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("worker", String(255)),
    Column("lease_until", Double),
    # After an error that may pass: the next attempt waits until then.
    Column("not_before", Double),
    # The outbox: null means that the doorbell has yet to ring for this job.
    Column("announced_at", Double),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("source", String(8), nullable=False),
    Column("path", Text),
    Column("slide_sha256", String(64)),
    Column("slide_bytes", BigInteger),
    Column("bundle_name", String(64), nullable=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("mpp", Double),
    Column("fresh", Boolean, nullable=False, server_default=false()),
    # Held by an active job only: while it is held, equal requests join that job.
    Column("dedupe_key", String(64), unique=True),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    # Of a job that waits: what for. Of one that has ended: why.
    Column("error", Text),
    Column("report", Text),
    Column("tiles", Integer),
    Column("seconds", Double),
    Index("jobs_by_state", "state", "seq"),
    Index("jobs_by_slide", "slide_sha256", "bundle_digest"),
    Index("jobs_by_size", "slide_bytes"),
    sqlite_autoincrement=True,
)

EVENTS = Table(
    "events",
    METADATA,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("at", Double, nullable=False),
    # "state" events stay for ever; of "progress" events a job keeps its last one.
    Column("kind", String(8), nullable=False),
    Column("state", STATE, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("error", Text),
    Index("events_by_job", "job_id", "seq"),
    # Never reuse a number: it is the Last-Event-ID of a stream.
    sqlite_autoincrement=True,
)

REQUESTS = Table(
    "requests",
    METADATA,
    Column("idempotency_key", String(255), primary_key=True),
    Column("request_digest", String(64), nullable=False),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("at", Double, nullable=False),
)
