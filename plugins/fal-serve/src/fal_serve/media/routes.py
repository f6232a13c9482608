"""The route at which a service serves the files that it keeps itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

    from fal_serve.media.kept_files import OwnFiles

#: A browser may show them, from any page, but runs nothing in them.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


def add_media(application: Starlette, own: OwnFiles) -> None:
    """Add the route of the files that *own* keeps to *application*."""
    from fal_serve.media.kept_files import PATH

    async def media(request: Request) -> Response:
        file = own.kept.find(request.path_params["id"])
        if file is None:
            raise HTTPException(404, "There is no such file, or it has expired.")
        kind = file.content_type if file.content_type.isascii() else "application/octet-stream"
        return FileResponse(file.path, headers=_HEADERS, media_type=kind)

    application.router.add_route(PATH, media, ["GET"], include_in_schema=False)
