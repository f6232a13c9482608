"""Snapshots: what an account has at a moment, as the pages show it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from isolate_proto import controller_pb2 as wire

from fal_server.access.callers import Caller
from fal_server.activity.traffic import Traffic
from fal_server.fleet.runners import Runner
from fal_server.queue.request_queues import RequestQueue
from fal_server.routing.applications import Application
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.routing.function_pools import FunctionPools

_MODES: Mapping[int, str] = {wire.PRIVATE: "private", wire.PUBLIC: "public"}

#: Seconds for which a snapshot is good for all who look.
_FRESH = 0.9

#: The most requests of a runner that are named.
_MOST_REQUESTS = 20

#: What was counted or described, by its name.
Items = Mapping[str, Mapping[str, Any]]


@attrs.frozen
class Snapshot:
    """What an account has."""

    applications: Items
    runners: Items


@attrs.define(eq=False)
class Snapshots:
    """Takes snapshots of accounts."""

    catalog: ApplicationCatalog
    functions: FunctionPools
    queue: RequestQueue
    traffic: Traffic
    _taken: dict[str, tuple[float, Snapshot]] = attrs.field(factory=dict)

    def take(self, account_id: str) -> Snapshot:
        """Return what an account has now, or had a moment ago."""
        now = time.monotonic()
        known = self._taken.get(account_id)
        if known is not None and now - known[0] < _FRESH:
            return known[1]
        # What nobody looks at any more is forgotten.
        for other in [id for id, (at, _) in self._taken.items() if now - at > 60]:
            del self._taken[other]
        taken = self._take(account_id)
        self._taken[account_id] = now, taken
        return taken

    def runners_of(self, account_id: str) -> Iterator[tuple[str, Runner]]:
        """Yield the runners of an account, each after the name of its application or function."""
        for application in self.catalog.list_of(account_id):
            for runner in application.runners:
                yield application.alias, runner
        for pool in self.functions.pools:
            for runner in pool.runners:
                if runner.spec.owner == account_id:
                    yield runner.spec.name, runner

    def _take(self, account_id: str) -> Snapshot:
        waiting = self.queue.waiting()
        applications = {}
        for application in self.catalog.list_of(account_id):
            name = application.alias
            if not application.ephemeral:
                queued = waiting.get(f"{application.owner_name}/{name}", 0)
                applications[name] = self._describe(application, queued)
        runners = {
            runner.id: _describe_runner(runner, name)
            for name, runner in self.runners_of(account_id)
        }
        return Snapshot(applications, runners)

    def _describe(self, application: Application, queued: int) -> Mapping[str, Any]:
        counts: dict[str, int] = {}
        for runner in application.runners:
            counts[runner.label] = counts.get(runner.label, 0) + 1
        rates = self.traffic.rates_of((application.owner, application.alias))
        takeover = application.takeover
        scaling, failure = application.scaling, application.failure
        return {
            "owner": application.owner_name,
            "stage": application.stage,
            "revision": application.revision,
            "deploying": None if takeover is None else takeover.revision,
            "auth": _MODES.get(application.auth_mode, "shared"),
            "state": _state_of(application, counts, rates.errors),
            "reason": application.broken or _wait_of(application) or _failure_of(application),
            "failed_since": None if failure is None else round(failure.since, 1),
            "runners": counts,
            "waiting": application.pool.waiting + queued,
            "running": sum(runner.in_flight for runner in application.runners),
            "per_second": round(rates.per_second, 3),
            "errors": rates.errors,
            "median": rates.median,
            "slow": rates.slow,
            "machines": list(scaling.machine_types),
            "concurrency": [scaling.min_concurrency, scaling.max_concurrency],
        }


def only_allowed(snapshot: Snapshot, caller: Caller) -> Snapshot:
    """Return the part of a snapshot that *caller* may see."""
    may = caller.permissions
    return Snapshot(
        snapshot.applications if "serverless:apps:read" in may else {},
        snapshot.runners if "serverless:runners:read" in may else {},
    )


def count_applications(
    catalog: ApplicationCatalog, queue: RequestQueue
) -> Mapping[tuple[str, str], tuple[int, int]]:
    """Return how many runners, and how many waiting requests, each deployed application has."""
    queued = queue.waiting()
    return {
        (each.owner, each.alias): (
            sum(runner.is_alive for runner in each.runners),
            each.pool.waiting + queued.get(f"{each.owner_name}/{each.alias}", 0),
        )
        for each in catalog.applications.values()
        if not each.ephemeral
    }


def _state_of(application: Application, counts: Mapping[str, int], errors: int) -> str:
    if application.broken:
        return "broken"
    if application.takeover is not None:
        return "deploying"
    if application.failure is not None and not counts:
        return "failed"
    if errors:
        return "errors"
    if counts.get("running") or counts.get("idle"):
        return "running"
    if any(counts.get(label) for label in ("pending", "building", "setup")):
        return "starting"
    return "asleep"


def _wait_of(application: Application) -> str:
    """Return what a runner waits for, of those that serve or of those that are to take over."""
    takeover = application.takeover
    waits_for = application.pool.waits_for
    return waits_for or ("" if takeover is None else takeover.pool.waits_for)


def _failure_of(application: Application) -> str:
    return "" if application.failure is None else str(application.failure)


def _describe_runner(runner: Runner, application: str) -> Mapping[str, Any]:
    return {
        "application": application,
        "revision": runner.revision,
        "phase": runner.label,
        "reason": runner.reason or runner.lifecycle.waits_for,
        # One that waits for a host is on none.
        "host": "" if runner.lifecycle.unreached else runner.way.name,
        "machine": runner.spec.machine_type,
        "gpus": runner.spec.num_gpus,
        "started_at": round(runner.started_at, 1),
        "in_flight": runner.in_flight,
        "requests": sorted(runner.requests)[:_MOST_REQUESTS],
    }
