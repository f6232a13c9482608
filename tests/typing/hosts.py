"""The types that mypy and pyright see in hosts of others; this file is never run."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
from typing_extensions import assert_type

from fal_core import Capabilities, Execution, Host, HostOptions, Sink
from fal_core.calls import Call


@attrs.frozen(kw_only=True)
class QueueOptions(HostOptions):
    queue: str | None = None


@attrs.define(eq=False, slots=False)
class QueueHost(Host[..., Any]):
    """A host reads options of its own without a cast, and claims what has the right type."""

    name: ClassVar[str] = "queue"
    options: ClassVar[type[HostOptions]] = QueueOptions
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=frozenset({"current"}), concurrency=2
    )

    def launch(self, call: Call, sink: Sink) -> Execution:
        options = QueueOptions.of(call)
        assert_type(options, QueueOptions)
        assert_type(options.queue, str | None)
        assert_type(HostOptions.of(call), HostOptions)
        raise AssertionError(options)


def claims() -> None:
    """A claim of the wrong type, or of a name that there is not, is an error."""
    assert_type(Capabilities.of_workers(kinds=None), Capabilities)
    Capabilities.of_workers(kinds={"current"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Capabilities.of_workers(streams=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    both = Capabilities.both(Capabilities(), Capabilities.of_workers())
    assert_type(both, Capabilities)
