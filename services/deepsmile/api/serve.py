"""Serve: the app on uvicorn, with the settings that streaming uploads want."""

import uvicorn

from deepsmile.api.app import create_app
from deepsmile.logs import set_up_logs
from deepsmile.settings import Settings

STOP_S = 5
"""Requests that wait longer than this for their end are cut when the service stops."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    set_up_logs()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http="httptools",
        loop="auto",
        timeout_graceful_shutdown=STOP_S,
        server_header=False,
    )
