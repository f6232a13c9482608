"""Hosts and kinds of environment whose options are declared, and drawn options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
from hypothesis import strategies as st

from fal_core.declaring.vocabulary import (
    parse_options,
)
from fal_core.environments import CurrentEnvironment
from fal_core.hosts import Capabilities, Host
from fal_core.options import HostOptions, Options
from fal_core.validators import at_least

Written = list[str] | list[list[str]]


def as_layers(written: Any) -> tuple[tuple[str, ...], ...]:
    """Return requirements as layers, however they were written."""
    if all(isinstance(entry, str) for entry in written):
        return (tuple(written),) if written else ()
    return tuple(map(tuple, written))


@attrs.frozen(kw_only=True)
class Layered(CurrentEnvironment):
    """An environment whose requirements are normalised by the converter of their field."""

    kind: ClassVar[str] = "layered"

    requirements: Written = attrs.field(
        default=(),  # type: ignore[assignment]  # converted
        converter=as_layers,
    )
    python_version: str | None = None
    force: bool = False
    variables: Mapping[str, str] = attrs.field(factory=dict)
    project: Path | None = None
    limit: float = attrs.field(default=1.0)

    @limit.validator
    def _check_limit(self, _: object, value: float) -> None:
        if value < 0:
            raise ValueError(f"limit is {value:g}, and cannot be negative")


@attrs.frozen(kw_only=True)
class Boxed(CurrentEnvironment):
    """A stand-in for kind ``container``: its image has no default."""

    kind: ClassVar[str] = "container"

    image: Any
    requirements: tuple[str, ...] = ()
    force: bool = False


@attrs.frozen(kw_only=True)
class QueueOptions(HostOptions):
    """The options of a host, one of its own among them."""

    queue: str | None = None
    queue_length: int | None = attrs.field(default=None, validator=at_least(1))


class Place(Host[..., Any]):
    """The common part of hosts that run nothing."""

    capabilities: ClassVar[Capabilities] = Capabilities(kinds=None, options=None)

    def launch(self, call: Any, sink: Any) -> Any:
        raise AssertionError(call, sink)


@attrs.define(eq=False, slots=False)
class Queued(Place):
    name: ClassVar[str] = "queued"
    options: ClassVar[type[HostOptions]] = QueueOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=None, options=frozenset({"keep_alive"})
    )


@attrs.define(eq=False, slots=False)
class Plain(Place):
    name: ClassVar[str] = "plain"


@attrs.define(eq=False, slots=False)
class Around(Place):
    """A wrapper host: its options are those of the inner host."""

    name: ClassVar[str] = "around"

    inner: Host[..., Any] = attrs.field(factory=Queued)

    @property
    def options(self) -> type[HostOptions]:  # type: ignore[override]  # the host's own
        return self.inner.options


def layered(**config: Any) -> Options:
    """Parse *config* for kind ``layered``."""
    return parse_options({"kind": "layered", **config})


def answer() -> int:
    """Return a number; it is not run."""
    return 42


words = st.text(min_size=1, max_size=5)


requirements = st.one_of(
    st.lists(words, max_size=3), st.lists(st.lists(words, min_size=1, max_size=2), max_size=2)
)


host_options = st.fixed_dictionaries(
    {},
    optional={
        "machine_type": words | st.lists(words, max_size=2),
        "keep_alive": st.none() | st.integers(0, 99) | st.floats(0, 1e9),
        "max_concurrency": st.integers(1, 99),
        "regions": st.lists(words, max_size=2),
        "metadata": st.dictionaries(
            words, st.recursive(st.none() | words, st.lists), max_size=2
        ),
        "queue": words,
        "_base_image": words,
        "private_logs": st.booleans(),
    },
)
