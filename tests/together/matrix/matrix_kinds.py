"""The kinds of environment of the matrix, and how each is declared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from fal_uv.testing import write_wheel

ROOT = Path(__file__).resolve().parents[3]

Options = Mapping[str, Any]


@contextmanager
def declare_nothing(folder: Path) -> Iterator[Options]:
    """Yield the options of a kind that needs none."""
    yield {}


@contextmanager
def declare_conda(folder: Path) -> Iterator[Options]:
    """Yield the options of a conda environment, of a channel of its own."""
    from fal_env_conda.testing import make_channel, package_python, package_wheel

    wheel = write_wheel(folder, "alpha-one", "1.0")
    try:
        packages = [package_python(), package_wheel(wheel)]
    except LookupError as error:
        pytest.skip(str(error))
    make_channel(folder / "channel", packages)
    with pytest.MonkeyPatch.context() as patch, serve(folder / "channel") as url:
        patch.setenv("RATTLER_CACHE_DIR", str(folder / "rattler"))
        yield {"packages": ["alpha-one"], "channels": [url]}


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None: ...


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback, as a service reaches it too, and yield its URL."""
    handler = partial(_Silent, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def declare_container(folder: Path) -> Iterator[Options]:
    """Yield the options of a container, of an image of this machine's Python."""
    for name in ("fal-env-container", "fal-server"):
        sys.path.append(str(ROOT / "plugins" / name / "tests"))
    from engines import BASE, import_this_python
    from local_engines import LocalEngine, make_folder, missing

    from fal_env_container import finding

    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    folder.mkdir(parents=True, exist_ok=True)
    engine = LocalEngine(make_folder("fal-podman-"), folder)
    engine.create()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in engine.variables.items():
                patch.setenv(name, value)
            finding.forget()
            import_this_python(engine)
            yield {"image": BASE}
    finally:
        engine.remove()
        finding.forget()


#: How each kind is declared, by its name.
KINDS: dict[str, Callable[[Path], AbstractContextManager[Options]]] = {
    "current": declare_nothing,
    "virtualenv": declare_nothing,
    "conda": declare_conda,
    "container": declare_container,
}
