"""Serving: requests a second, batches, the first answer, memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure, Role
from benchmarks.footprints import memory
from benchmarks.loads import ask, describe_client
from benchmarks.peers.bodies import BODY
from benchmarks.services import Served, post, serve_fal_core, serve_peer

BARE = "bare FastAPI and uvicorn"
_HERE = "benchmarks.serving:"


@contextmanager
def _serve(
    peer: str | None, options: tuple[str, ...], path: str, log: bool
) -> Iterator[Served]:
    if peer is None:
        with serve_fal_core(access_log=log) as served:
            yield served
    else:
        with serve_peer(peer, *options, path=path) as served:
            yield served


@contextmanager
def loaded(
    path: str,
    connections: int,
    seconds: float,
    *,
    measure: str = "rate",
    peer: str | None = None,
    options: tuple[str, ...] = (),
    log: bool = True,
) -> Iterator[Measure]:
    """
    Measure a service under load: its ``rate`` or its ``p99``.

    Arguments:
        peer: A module of ``benchmarks.peers``. None is this project.
    """
    with _serve(peer, tuple(options), path, log) as served:

        def load(seconds: float) -> Any:
            shown = ask(f"{served.url}{path}", BODY, connections=connections, seconds=seconds)
            served.check(int(shown.rate * seconds))
            return shown

        load(max(1.0, seconds / 4))
        yield lambda: float(getattr(load(seconds), measure))


@contextmanager
def first_answer(
    who: str, kind: str = "current", *, imports: bool = False
) -> Iterator[Measure]:
    """
    Start a service, each time from a new process, to its first answer.

    Arguments:
        imports: Whether the start of that process and its imports count.
    """

    def measure() -> float:
        argv = [sys.executable, "-m", "benchmarks.first_answers", who, "--kind", kind]
        if imports:
            argv += ["--since", repr(time.perf_counter())]
        return float(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout)

    measure()
    yield measure


@contextmanager
def served_memory(measure: str, peer: str | None = None) -> Iterator[Measure]:
    """Measure the process that answers, after some requests."""
    with _serve(peer, (), "/sync", True) as served:
        for _ in range(500):
            post(f"{served.url}/sync", BODY)
        yield lambda: memory(served.pid, measure)


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    seconds = 2.0 if quick else 4.0
    return [
        *(_json(kind, seconds, log=log) for kind in ("sync", "async") for log in (True, False)),
        *(_batches(measure, seconds) for measure in ("rate", "p99")),
        *(_first_answer(kind) for kind in ("current", "virtualenv")),
        _first_answer("virtualenv", imports=True),
        _first_answer_of_run_local(),
        *(_memory(measure) for measure in ("rss", "pss")),
    ]


def _peer(
    name: str,
    target: str,
    *needs: str,
    role: Role = "peer",
    private: bool = False,
    **settings: Any,
) -> Contestant:
    return Contestant(
        name=name,
        target=_HERE + target,
        settings=settings,
        needs=needs,
        role=role,
        private=private,
    )


def _json(kind: str, seconds: float, *, log: bool) -> Figure:
    load: Mapping[str, Any] = {"path": f"/{kind}", "connections": 16, "seconds": seconds}
    options = () if log else ("--no-access-log",)
    contestants = [
        _peer(FAL_CORE, "loaded", "fal_serve", role="fal-core", log=log, **load),
        _peer(
            BARE,
            "loaded",
            "fastapi",
            role="reference",
            peer="bare",
            options=options,
            **load,
        ),
    ]
    if log:
        if kind == "sync":
            contestants.append(_peer("LitServe", "loaded", "litserve", peer="lit", **load))
        contestants += [
            _peer("fal.App", "loaded", "fal", peer="fal_app", **load),
            _peer("Ray Serve", "loaded", "ray", peer="ray_serve", private=True, **load),
        ]
    factor = 1.0 if log else {"sync": 0.9, "async": 0.85}[kind]
    return Figure(
        name=f"json-{kind}" if log else f"json-{kind}-quiet",
        title=f"JSON in and out through pydantic, {'a plain' if kind == 'sync' else 'an async'}"
        f" handler, {'access logs on' if log else 'no access logs'}",
        unit="requests/s",
        note=f"16 connections, {describe_client()}; all middleware; "
        + ("what fal-core logs is read where it was spawned" if log else "one process each"),
        contestants=tuple(contestants),
        goals=(Goal(against=BARE, factor=factor, at_least=True),),
    )


def _batches(measure: str, seconds: float) -> Figure:
    load: Mapping[str, Any] = {
        "path": "/batch",
        "connections": 64,
        "seconds": seconds,
        "measure": measure,
    }
    peers = [
        _peer(
            f"LitServe, batch_timeout {wait}",
            "loaded",
            "litserve",
            peer="lit",
            options=("--wait", wait),
            **load,
        )
        for wait in ("0", "0.005")
    ]
    rate = measure == "rate"
    return Figure(
        name=f"batches-{measure}",
        title="64 requests at once, batched, 5 ms for each batch: "
        + ("requests a second" if rate else "within what time 99 of 100 are answered"),
        unit="requests/s" if rate else "ms",
        note=f"64 connections, {describe_client()}; at most 64 items in a batch",
        contestants=(
            _peer(FAL_CORE, "loaded", "fal_serve", role="fal-core", **load),
            *peers,
        ),
        goals=tuple(Goal(against=peer.name, at_least=rate) for peer in peers),
        # A worker of LitServe's that has nothing to do keeps looking for it, on the core
        # that the others are measured on.
        fresh=True,
    )


def _first_answer(kind: str, *, imports: bool = False) -> Figure:
    rival = "fal.App.run_local"
    start = "a new process" if imports else "spawn"
    counted = "are" if imports else "are not"
    return Figure(
        name=f"first-answer-{kind}{'-imports' if imports else ''}",
        title=f"kind {kind}, already built: {start} to the first answer",
        unit="s",
        note=f"a new process each time; its imports {counted} counted, on either side",
        contestants=(
            Contestant(
                name=FAL_CORE,
                target=_HERE + "first_answer",
                settings={"who": "fal-core", "kind": kind, "imports": imports},
                role="fal-core",
                needs=("fal_serve",),
                pinned=False,
            ),
            Contestant(
                name=rival,
                target=_HERE + "first_answer",
                settings={"who": "fal", "imports": imports},
                needs=("fal",),
                pinned=False,
            ),
        ),
        goals=(Goal(against=rival),) if imports else (Goal(plus=0.5), Goal(against=rival)),
    )


def _first_answer_of_run_local() -> Figure:
    rival = "fal.App.run_local"
    return Figure(
        name="first-answer-run-local",
        title="run_local, without an environment: a new process to the first answer",
        unit="s",
        note="its imports are counted, on either side",
        contestants=tuple(
            Contestant(
                name=name,
                target=_HERE + "first_answer",
                settings={"who": who, "imports": True},
                role=role,
                needs=(needed,),
                pinned=False,
            )
            for name, who, role, needed in (
                (FAL_CORE, "run-local", "fal-core", "fal_serve"),
                (rival, "fal", "peer", "fal"),
            )
        ),
        goals=(Goal(against=rival),),
    )


def _memory(measure: str) -> Figure:
    kinds = {"rss": "resident", "pss": "proportional"}
    return Figure(
        name=f"served-{measure}",
        title=f"{kinds[measure]} memory of a service",
        unit="MiB",
        note="the process that answers, after 500 requests",
        contestants=(
            _peer(FAL_CORE, "served_memory", "fal_serve", role="fal-core", measure=measure),
            _peer(
                BARE, "served_memory", "fastapi", role="reference", peer="bare", measure=measure
            ),
            _peer("fal.App", "served_memory", "fal", peer="fal_app", measure=measure),
        ),
        goals=(Goal(against=BARE, factor=1.3),),
        fresh=True,
    )
