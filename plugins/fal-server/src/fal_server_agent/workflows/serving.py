"""Serving: a workflow as an application, whose nodes are called at the gateway of the server."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fal_server_agent.workflows.graphs import Graph, NoValue

#: Seconds that a node may take.
_LONGEST = 24 * 3600.0

#: The largest input of a workflow, in bytes.
_LARGEST = 64 << 20


class NodeFailed(Exception):
    """
    An application has not answered as it should. The arguments are the status of its response,
    and the body.
    """


def serve(graph: Graph, port: int) -> None:
    """Serve a workflow at a port of this machine."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
    )

    def call(application: str, given: Any) -> Any:
        return _call(opener, application, given)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if self.path.partition("?")[0] != "/" or not 0 <= size <= _LARGEST:
                self.close_connection = True
                return self._answer(404, {"detail": "A workflow has no other endpoint than /."})
            try:
                given = json.loads(self.rfile.read(size) or b"{}")
            except ValueError:
                return self._answer(422, {"detail": "The input is not JSON."})
            try:
                return self._answer(200, graph.run(given, call))
            except NoValue as error:
                self._answer(422, {"detail": str(error)})
            except NodeFailed as error:
                self._answer(*error.args)

        def _answer(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def _call(opener: urllib.request.OpenerDirector, application: str, given: Any) -> Any:
    """
    Call an application of the server, with the key of this runner.

    Raises:
        NodeFailed: It has not answered with JSON and a status of success.
    """
    host, key = os.environ["FAL_RUN_HOST"], os.environ["FAL_KEY"]
    request = urllib.request.Request(
        f"https://{host}/{application}",
        json.dumps(given).encode(),
        {"Content-Type": "application/json", "Authorization": f"Key {key}"},
    )
    try:
        with opener.open(request, timeout=_LONGEST) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            told = _read(error.read())
        print(f"{application} has failed with status {error.code}.")
        raise NodeFailed(error.code, told) from None
    except (OSError, ValueError) as error:
        print(f"{application} has failed: {error}.")
        raise NodeFailed(502, {"detail": f"{application} has not answered."}) from None


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return {"detail": body.decode(errors="replace")[:4096]}
