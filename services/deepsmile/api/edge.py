"""Edge: the outermost layer of ours; counts answers, and answers when nothing else did."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepsmile.api.metrics import Metrics
from deepsmile.api.problems import on_unexpected


class Edge:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as error:  # noqa: BLE001 - the API's 500 edge
            response = on_unexpected(scope["path"], error)
            if status == 0:
                await response(scope, receive, note)
        finally:
            self._metrics.count_request(scope["method"], _route(scope), status)


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "none")
