"""The status page at `/`: static files that read the server's own API in the reader's browser.

The files hold no data, so they are given to anybody; what they show comes from calls that ask for access as all others
do. Their content security policy allows this origin's files and calls and nothing else: no inline code, no other host,
no frame.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

__all__ = ["FILES", "HEADERS", "routes"]

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
"""Path → file and media type."""

# W3C Content Security Policy Level 3.
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes() -> list[Route]:
    """GET and HEAD of each file. The files are read once, here."""
    from starlette.routing import Route

    return [Route(path, _answer(*file), methods=["GET"]) for path, file in FILES.items()]


def _answer(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    """One file as an answer that never changes while the server runs."""
    from starlette.responses import Response

    body = (resources.files("tacit.service") / "page_files" / name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(body, media_type=media_type, headers=HEADERS)

    return answer
