"""What the pack's front end asks the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web
from server import PromptServer


def serve(path: str, answer: Callable[[Mapping[str, str]], dict]) -> None:
    """Answer GET requests of the path with what `answer` makes of the query, or with the message of its ValueError."""

    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(answer(request.query))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)

    PromptServer.instance.routes.get(path)(handle)
