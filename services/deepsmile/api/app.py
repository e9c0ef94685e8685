"""App: the routes, put together; building it connects to nothing."""

from typing import Any

from fastapi import FastAPI

from deepsmile import __version__
from deepsmile.api import bundles, health, jobs
from deepsmile.api.docs import DESCRIPTION, TAGS, describe
from deepsmile.api.edge import Edge
from deepsmile.api.problems import install
from deepsmile.api.service import lifespan, make_service
from deepsmile.settings import Settings


class App(FastAPI):
    """FastAPI, with the schema completed by what it cannot know."""

    def openapi(self) -> dict[str, Any]:
        """OpenAPI 3.1."""
        if self.openapi_schema is None:
            self.openapi_schema = describe(super().openapi())
        return self.openapi_schema


def create_app(settings: Settings) -> FastAPI:
    """The app; it opens the database and starts its sweeper when it is served."""
    app = App(
        title="DeepSMILE",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        # Those pages load scripts from elsewhere, which a hospital's network forbids.
        docs_url=None,
        redoc_url=None,
        # Its logs hold the messages of exceptions, which may name a file.
        telemetry={"logs": False},
    )
    app.state.service = make_service(settings)
    app.add_middleware(Edge, metrics=app.state.service.metrics)
    install(app)
    for part in (jobs, bundles, health):
        app.include_router(part.router)
    return app
