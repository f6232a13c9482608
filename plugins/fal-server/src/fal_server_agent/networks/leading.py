"""
Leading: the programs of a runner reach its server at hosts that stand in the code of released
clients.

A proxy in the process of the runner connects these hosts to the server, and all others as
before. The variables of proxies name it, with a token that nobody else knows.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import importlib.util
import logging
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Mapping, MutableMapping
from typing import Any

from fal_server_agent.networks.connect_proxies import ConnectProxy, NextProxy

logger = logging.getLogger(__name__)

#: The variables of the proxy for encrypted connections: of those in small letters programs
#: take the first that is set.
_HTTPS, _ALL, _NONE = "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"

#: Hosts that programs always reach without a proxy.
_HERE = ("127.0.0.1", "localhost", "::1")

#: The variable with the URL of the proxy where it connects as programs would themselves: those
#: that check addresses before they connect leave it out.
DIRECT = "FAL_CORE_DIRECT_PROXY"

#: The variables with the files of authorities that programs trust.
_SSL, _REQUESTS, _CURL = "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"

_NAMES = (
    *(name for each in (_HTTPS, _ALL, _NONE) for name in (each, each.lower())),
    *(_SSL, _REQUESTS, _CURL),
)

#: The end of a certificate.
_END = b"-----END CERTIFICATE-----\n"

#: Seconds that connections have to close at the end of the process.
_LAST_MOMENT = 2.0


class Leading:
    """
    Has the programs of this process, and its child processes, use a proxy of their own.

    Arguments:
        told: What the control plane has told: ``names``, the hosts that lead to the server,
            ``server``, its host and port, and ``bundle``, the file of authorities with its own
            first.

        inherited: The environment variables before those that the control plane has told.

        folder: A directory of the runner alone, for files of authorities. Empty where it has
            none.
    """

    def __init__(
        self, told: Mapping[str, Any], inherited: Mapping[str, str], folder: str = ""
    ) -> None:
        self._names: list[str] = list(told["names"])
        self._server: tuple[str, int] = (told["server"][0], int(told["server"][1]))
        self._bundle: str = told["bundle"]
        self._inherited = inherited.get(_SSL, "")
        self._folder = folder
        self._is_folder_ours = False
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._proxy: ConnectProxy | None = None
        self._url = ""
        # What variables were before they were set here, and what to.
        self._before: Mapping[str, str | None] = {}
        self._told: Mapping[str, str] = {}
        self._has_warned = False

    def lead(self, variables: MutableMapping[str, str]) -> None:
        """
        Set the *variables* by which programs use the proxy, which is started, and trust the
        server. What they were set to before goes on to hold for all other hosts.

        Raises:
            OSError: The proxy cannot listen, or there is no room for a file.
        """
        before = {name: self._was(variables, name) for name in _NAMES}
        if before != self._before:
            for name in self._told:
                # What is not set again goes back to what it was.
                _set(variables, name, before.get(name))
            self._told = self._find(before)
            self._before = before
        variables.update(self._told)

    def _find(self, before: Mapping[str, str | None]) -> Mapping[str, str]:
        """Return the variables to set, where they are *before* what they are without the proxy."""
        apart = _first(before, _NONE) or ""
        url = _first(before, _HTTPS) or _first(before, _ALL) or ""
        if any(each.strip() == "*" for each in apart.split(",")):
            url = ""
        beyond = NextProxy.read(url) if url else None
        if url and beyond is None:
            self._leave_alone(url)
            return {}
        own = self._start(beyond, apart)
        told = {_HTTPS: own, _NONE: self._none(apart), **self._authorities(before)}
        for name in (_HTTPS, _NONE):
            # Some programs read small letters alone, gRPC for one.
            if before[name.lower()] is not None or before[_HTTPS.lower()] is not None:
                told[name.lower()] = told[name]
        return told if beyond is not None else {**told, DIRECT: own}

    def close(self) -> None:
        """Close all connections, and remove what was written."""
        if os.getpid() != self._process:
            # This is the end of a child process, and not that of the runner.
            return
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None and self._proxy is not None:
            closing = asyncio.run_coroutine_threadsafe(self._proxy.close(), loop)
            closing.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
            self._thread.join(_LAST_MOMENT)
            if not self._thread.is_alive():
                loop.close()
        if self._is_folder_ours:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _was(self, variables: Mapping[str, str], name: str) -> str | None:
        """Return what a variable is, or was before it was set here."""
        value = variables.get(name)
        is_ours = name in self._told and value == self._told[name]
        return self._before[name] if is_ours else value

    def _leave_alone(self, url: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            kind = url.partition(":")[0] if "//" in url else "unknown"
            logger.warning(
                "%s do not lead to the server: the proxy of the runner is of the kind %r, and "
                "only one whose URL begins with 'http://' can be kept for all other hosts.",
                ", ".join(self._names),
                kind,
            )

    # -- the proxy -----------------------------------------------------------------

    def _start(self, beyond: NextProxy | None, apart: str) -> str:
        """Start the proxy, or have the one that runs use another one, and return its URL."""

        def bypasses(place: str) -> bool:
            return _is_among(place, apart)

        if self._proxy is not None:
            self._proxy.beyond, self._proxy.bypasses = beyond, bypasses
            return self._url
        proxy = ConnectProxy(
            dict.fromkeys(self._names, self._server),
            beyond,
            bypasses=bypasses,
            token=secrets.token_hex(16),
            leads_home=False,
        )
        loop = asyncio.new_event_loop()
        # The thread of calls may be in one for as long as it likes.
        thread = threading.Thread(target=loop.run_forever, name="connect proxy", daemon=True)
        thread.start()
        try:
            port = asyncio.run_coroutine_threadsafe(proxy.start(0), loop).result()
        except BaseException:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            raise
        self._loop, self._thread, self._proxy, self._url = loop, thread, proxy, proxy.url(port)
        # After what the application does at its own end, which may need it.
        atexit.register(self.close)
        return self._url

    def _none(self, apart: str) -> str:
        """
        Return the hosts that programs reach without a proxy: this machine, the server, and
        those of *apart*, without the ones that lead to the server.
        """
        here = list(dict.fromkeys((*_HERE, self._server[0])))
        others = [each.strip() for each in apart.split(",")]
        return ",".join(
            [*here, *(each for each in others if each not in here and self._keeps(each))]
        )

    def _keeps(self, entry: str) -> bool:
        is_led = any(_is_among(f"{name}:443", entry) for name in self._names)
        return bool(entry) and not is_led

    # -- authorities -----------------------------------------------------------------

    def _authorities(self, before: Mapping[str, str | None]) -> dict[str, str]:
        """
        Return the variables by which programs trust the server, beside what they trust
        already. A directory of authorities stays as it is.
        """
        with open(self._bundle, "rb") as file:
            bundle = file.read()
        own, end, others = bundle.partition(_END)
        authority = own + end
        told = {}
        given = before[_SSL]
        if not given or given == self._bundle:
            inherited = _read(self._inherited)
            is_known = authority.strip() in inherited or inherited.strip() in others
            # What the machine of the server trusts has come with the bundle.
            joined = self._bundle if is_known else self._write(bundle + b"\n" + inherited)
            told[_SSL] = joined
        for name in (_SSL, _REQUESTS, _CURL):
            path = before[name] or ""
            if name == _REQUESTS:
                # Requests looks here, there, and else into its own file.
                path = path or before[_CURL] or _find_own_file()
            content = _read(path)
            if content and name not in told:
                is_led = authority.strip() in content
                told[name] = path if is_led else self._write(content + b"\n" + authority)
        return told

    def _write(self, content: bytes) -> str:
        """Return the path of a file with *content*, which this process alone changes."""
        if not self._folder:
            self._folder = tempfile.mkdtemp(prefix="fal-runner-")
            self._is_folder_ours = True
        name = f"authorities-{hashlib.sha256(content).hexdigest()[:16]}.pem"
        path = os.path.join(self._folder, name)
        if not os.path.exists(path):
            with open(f"{path}.new", "wb") as file:
                file.write(content)
            os.replace(f"{path}.new", path)
        return path


def _first(variables: Mapping[str, str | None], name: str) -> str | None:
    """Return a variable as programs read it: written in small letters first."""
    small = variables[name.lower()]
    return variables[name] if small is None else small


def _is_among(place: str, listed: str) -> bool:
    """
    Tell whether a host and its port are among those that programs reach without a proxy, as
    they are *listed* in a variable.
    """
    known = (place.lower(), place.lower().rpartition(":")[0].strip("[]"))
    names = (each.strip().lower().lstrip(".") for each in listed.split(","))
    return any(
        name == "*" or each == name or each.endswith(f".{name}")
        for name in names
        if name
        for each in known
    )


def _set(variables: MutableMapping[str, str], name: str, value: str | None) -> None:
    if value is None:
        variables.pop(name, None)
    else:
        variables[name] = value


def _read(path: str) -> bytes:
    """Return the content of a file of authorities. Empty where it is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError):
        return b""


def _find_own_file() -> str:
    """
    Return the file of authorities that Requests brings with it. Empty where it is not
    installed.
    """
    spec = importlib.util.find_spec("certifi")
    if spec is None or spec.origin is None:
        return ""
    return os.path.join(os.path.dirname(spec.origin), "cacert.pem")
