"""Serve: the app on uvicorn, with the settings that streaming uploads want."""

import logging

import uvicorn

from deepsmile.api.app import create_app
from deepsmile.logs import set_up_logs
from deepsmile.settings import Settings

STOP_S = 5
"""Requests that wait longer than this for their end are cut when the service stops."""
PROBES = ("/healthz", "/readyz", "/metrics")
"""Asked for every few seconds; not worth a line each."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    set_up_logs()
    logging.getLogger("uvicorn.access").addFilter(is_worth_a_line)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http="httptools",
        loop="auto",
        timeout_graceful_shutdown=STOP_S,
        server_header=False,
    )


def is_worth_a_line(line: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's access log is; the query, which may name a patient, is cut."""
    assert isinstance(line.args, tuple), "client, method, path, version, status"
    client, method, path, *rest = line.args
    path = str(path).partition("?")[0]
    line.args = (client, method, path, *rest)
    return path not in PROBES
