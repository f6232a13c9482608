"""A bare proxy of aiohttp: what passing requests on costs at least in Python."""

import argparse
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

_SKIPPED = {"host", "connection", "content-length", "transfer-encoding"}


def make(target: str) -> web.Application:
    """Return what passes every request on to *target*."""

    async def pass_on(request: web.Request) -> web.Response:
        kept = {k: v for k, v in request.headers.items() if k.lower() not in _SKIPPED}
        session = request.app["session"]
        async with session.request(
            request.method,
            f"{target}{request.path_qs}",
            headers=kept,
            data=await request.read(),
        ) as answer:
            body = await answer.read()
            told = {k: v for k, v in answer.headers.items() if k.lower() not in _SKIPPED}
            return web.Response(body=body, status=answer.status, headers=told)

    async def connect(app: web.Application) -> AsyncIterator[None]:
        app["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        yield
        await app["session"].close()

    application = web.Application()
    application.cleanup_ctx.append(connect)
    application.router.add_route("*", "/{path:.*}", pass_on)
    return application


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--target", required=True)
    options = parser.parse_args()
    uvloop.install()
    web.run_app(
        make(options.target), host="127.0.0.1", port=options.port, access_log=None, print=None
    )
