"""
The process in which rattler runs; nothing else of this package is imported there.

It reads requests from its standard input, each a line of JSON, and writes lines of JSON:
what happens meanwhile, then the answer or the error. It kills itself and what it has started
when its standard input ends, so that it never outlives who started it.

Rattler is no part of the program that calls functions: only a process can be ended in the
middle of a solution, an installation or a script of a package, and threads of rattler that
still run while Python ends can crash it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Request = dict[str, Any]

_requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
_writing = threading.Lock()

#: A directory for files of one process. Who started it removes it.
_folder = ""


def main() -> None:
    """Answer requests until there are no more."""
    # What rattler or a link script prints is no answer.
    answers = os.dup(1)
    os.dup2(2, 1)
    threading.Thread(target=_read_requests, daemon=True).start()
    loop = asyncio.new_event_loop()
    while True:
        request = _requests.get()
        try:
            answer = loop.run_until_complete(_ANSWERS[request.pop("ask")](answers, **request))
            told = {"answer": answer}
        except Exception as error:
            told = {"error": type(error).__name__, "message": str(error)}
        _tell(answers, told)


def _read_requests() -> None:
    for line in sys.stdin:
        _requests.put(json.loads(line))
    # Nobody else does, where who started this was killed, and it may hold credentials.
    shutil.rmtree(_folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _tell(answers: int, told: Request) -> None:
    data = json.dumps(told).encode() + b"\n"
    with _writing:
        while data:
            data = data[os.write(answers, data) :]


def _beside(name: str) -> Any:
    """Return the module *name* of this folder, without the package that it is part of."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _reporter(answers: int) -> Any:
    """Return what tells of an installation, one line for each package that is downloaded."""
    from rattler import InstallerReporter

    names: dict[int, str] = {}

    class Reporter(InstallerReporter):
        def on_populate_cache_start(self, operation: int, package_name: str) -> int:
            names[operation] = package_name
            return operation

        def on_download_start(self, cache_entry: int) -> int:
            name = names.get(cache_entry, "a package")
            _tell(answers, {"line": f"Downloading {name}"})
            return cache_entry

        def on_post_link_start(self, package_name: str, script_path: str) -> int:
            _tell(answers, {"line": f"Running {script_path} of {package_name}"})
            return 0

    return Reporter()  # type: ignore[abstract]  # what is left out does nothing


async def _detect(answers: int) -> list[str]:
    from rattler import VirtualPackage, VirtualPackageOverrides

    found = VirtualPackage.detect(VirtualPackageOverrides.from_env())
    return [str(package.into_generic()) for package in found]


async def _solve(
    answers: int,
    *,
    channels: list[str],
    specs: list[str],
    platform: str,
    virtual_packages: list[str],
    offline: bool,
    cache: str,
    credentials: list[Request],
) -> list[Request]:
    import rattler

    asked = [_match_spec(spec) for spec in specs]
    client = rattler.Client.from_config(_config(credentials))
    action: Any = "force-cache-only" if offline else "cache-or-fetch"
    gateway = rattler.Gateway(
        Path(cache), default_config=rattler.SourceConfig(cache_action=action), client=client
    )
    sources = await _beside("wheel_sources").with_wheels(
        channels,
        gateway=gateway,
        client=client,
        platform=platform,
        cache=cache,
        cache_action=action,
    )
    # Of a package that is asked for with a version, rattler loads what fits it alone. With
    # the name beside it, a channel that has other versions of it counts as the first.
    names = {
        spec.name.normalized
        for spec, text in zip(asked, specs, strict=True)
        if spec.channel is None and "://" not in text
    }
    records = await rattler.solve(
        sources,
        [*asked, *map(rattler.MatchSpec, sorted(names))],
        gateway=gateway,
        platforms=[rattler.Subdir(platform), "noarch"],
        virtual_packages=list(map(_virtual_package, virtual_packages)),
        channel_priority=rattler.ChannelPriority.Strict,
    )
    return [_plain(record) for record in records]


def _match_spec(text: str) -> Any:
    import rattler

    try:
        return rattler.MatchSpec(text)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"Package {text!r} is not written as conda writes packages: {reason}."
        ) from None


def _virtual_package(text: str) -> Any:
    import rattler

    name, version, build = text.split("=")
    return rattler.GenericVirtualPackage(
        rattler.PackageName(name), rattler.Version(version), rattler.BuildString(build)
    )


def _plain(record: Any) -> Request:
    return {
        "record": json.loads(record.to_json()),
        "file_name": record.file_name,
        "url": record.url,
        "channel": record.channel,
    }


def _config(credentials: list[Request]) -> Any:
    """Return the user's settings of rattler, with *credentials* added to those that it knows."""
    from rattler import Config

    config = Config.load_from_default_locations("pixi")
    if not credentials:
        return config
    # With a file of credentials, rattler looks nowhere else.
    known = _read_netrc()
    for path in (
        config.authentication_override_file,
        os.environ.get("RATTLER_AUTH_FILE"),
        os.path.expanduser("~/.rattler/credentials.json"),
    ):
        if path and os.path.isfile(path):
            known |= _read_credentials(os.fspath(path))
            break
    for each in credentials:
        if each["user"]:
            secret = {"username": each["user"], "password": each["password"]}
            known[each["host"]] = {"BasicHTTP": secret}
        else:
            known[each["host"]] = {"CondaToken": each["password"]}
    descriptor, path = tempfile.mkstemp(suffix=".json", dir=_folder)
    with open(descriptor, "w", encoding="utf-8") as stream:
        json.dump(known, stream)
    return config.merge(Config.from_toml(f"authentication-override-file = {json.dumps(path)}"))


def _read_credentials(path: str) -> Request:
    """Return the credentials that the user has written to the file *path*."""
    try:
        with open(path, encoding="utf-8") as stream:
            return dict(json.load(stream))
    except ValueError as error:
        raise ValueError(f"The file {path} of credentials is no JSON: {error}.") from None


def _read_netrc() -> Request:
    """Return the credentials that the user has for programs of all kinds."""
    from netrc import NetrcParseError, netrc

    path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    try:
        hosts = netrc(path).hosts
    except (OSError, NetrcParseError):
        return {}
    return {
        host: {"BasicHTTP": {"username": user or "", "password": password or ""}}
        for host, (user, _, password) in hosts.items()
        if host != "default"
    }


async def _write_lock(
    answers: int,
    *,
    records: list[Request],
    channels: list[str],
    platform: str,
    virtual_packages: list[str],
    files: list[Request],
) -> str:
    import rattler

    where = rattler.LockPlatform(platform, virtual_packages=virtual_packages)
    lock = rattler.LockFile([where])
    lock.set_channels("default", [rattler.LockChannel(each) for each in channels])
    for record in _records(records):
        lock.add_conda_package("default", where, record)
    for each in files:
        told = (each["name"], each["version"], each["location"])
        lock.add_pypi_package("default", where, *told)
    path = Path(_folder, "written.lock")
    lock.to_path(path)
    return path.read_text("utf-8")


async def _read_lock(answers: int, *, text: str, **arguments: Any) -> Request:
    path = Path(_folder, "read.lock")
    path.write_text(text, "utf-8")
    told: Request = _beside("lock_reading").read_lock(path, plain=_plain, **arguments)
    return told


def _records(records: list[Request]) -> list[Any]:
    import rattler

    taken = []
    path = Path(_folder, "record.json")
    for each in records:
        path.write_text(json.dumps(each["record"]), "utf-8")
        record = rattler.PackageRecord.from_index_json(path)
        # These are of the archive, and in no index of one.
        for name in ("sha256", "md5"):
            if told := each["record"].get(name):
                setattr(record, name, bytes.fromhex(told))
        record.size = each["record"].get("size")
        # A package that was asked for by its URL is of no channel.
        channel = each["channel"] or each["url"].rsplit("/", 2)[0] + "/"
        taken.append(rattler.RepoDataRecord(record, each["file_name"], each["url"], channel))
    return taken


async def _install(
    answers: int,
    *,
    records: list[Request],
    prefix: str,
    platform: str,
    offline: bool,
    cache: str,
    credentials: list[Request],
) -> None:
    import rattler

    settings = _config(credentials)
    packages = rattler.PackageCache(cache)
    taken = _records(records)
    # To look through a large cache takes longer than to install a few packages.
    checked = [each for each in taken if offline or each.url.startswith("file:")]
    missing = checked and await _missing(packages, checked)
    for record in missing:
        if record.url.startswith("file:"):
            _check_digest(record)
    names = [each.name.normalized for each in missing if not each.url.startswith("file:")]
    if names:
        raise OSError(
            f"No network may be used, since CONDA_OFFLINE is set, and the cache {cache} does "
            f"not have: {', '.join(names)}."
        )
    await rattler.install(
        taken,
        prefix,
        platform=rattler.Subdir(platform),
        client=rattler.Client.from_config(settings),
        config=settings,
        package_cache=packages,
        show_progress=False,
        reporter=_reporter(answers),
    )


async def _missing(cache: Any, records: list[Any]) -> list[Any]:
    """Return those of *records* whose packages *cache* does not have."""
    index = await cache.index()
    return [each for each in records if not index.contains_record(each)]


def _check_digest(record: Any) -> None:
    """
    Refuse the archive of *record*, of a folder, if it is not the one that was chosen: rattler
    compares only what it downloads.
    """
    path = unquote(urlsplit(record.url).path)
    if not os.path.isfile(path):
        raise OSError(f"Package {record.file_name} is gone: there is no file {path}.")
    expected, found, name = record.sha256, hashlib.sha256(), "SHA-256"
    if expected is None:
        expected, found, name = record.md5, hashlib.md5(usedforsecurity=False), "MD5"
    if expected is None:
        return
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    if found.digest() != expected:
        raise OSError(
            f"Package {record.file_name} at {path} is not the one that was chosen: its {name} "
            f"is {found.hexdigest()}, and {expected.hex()} was expected. Make the index of the "
            "channel anew, or the lock."
        )


async def _activate(answers: int, **arguments: Any) -> Request:
    told: Request = await _beside("activation").activate(**arguments)
    return told


async def _index(answers: int, *, channel: str) -> None:
    from rattler.index import index_fs

    await index_fs(Path(channel), write_zst=False, write_shards=False)


_ANSWERS: dict[str, Callable[..., Awaitable[Any]]] = {
    "activate": _activate,
    "detect": _detect,
    "index": _index,
    "install": _install,
    "read_lock": _read_lock,
    "solve": _solve,
    "write_lock": _write_lock,
}

if __name__ == "__main__":
    # The directories of rattler and its dependencies.
    sys.path[:0] = sys.argv[2:]
    _folder = sys.argv[1]
    main()
