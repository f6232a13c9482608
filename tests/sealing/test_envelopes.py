"""Calls as bytes."""

from __future__ import annotations

import struct
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core.calls import ENVELOPE_VERSION, Call, Node, SealedFunction, SourceArchive
from fal_core.environments import CurrentEnvironment
from fal_core.errors import FalSerializationError
from fal_core.events import Sealed
from fal_core.options import Gateway, HostOptions
from fal_core.sealing.envelopes import decode_call, encode_call
from fal_core_worker.opening.seals import PLAIN_PREFIX
from fal_core_worker.opening.values import open_arguments

sealed = st.builds(
    Sealed, st.binary(min_size=4), st.lists(st.binary(max_size=50), max_size=3).map(tuple)
)
functions = st.builds(
    SealedFunction,
    digest=st.text(),
    native=sealed,
    portable=st.none() | sealed,
    refusal=st.text(),
)
ports = st.none() | st.lists(st.integers(1, 65535)).map(tuple)
calls = st.builds(
    Call,
    id=st.text(),
    name=st.text(),
    function=functions,
    setup=st.none() | functions,
    arguments=sealed,
    environment=st.just(CurrentEnvironment()),
    host_options=st.builds(
        HostOptions,
        machine_type=st.none() | st.just("GPU") | st.just(("CPU", "GPU")),
        keep_alive=st.none() | st.floats(0, 1e6),
        secrets=st.none() | st.just(("TOKEN",)),
        metadata=st.none() | st.just({"a": [1, {"b": None}]}),
    ),
    gateway=st.builds(Gateway, serve=st.booleans(), exposed_port=st.none() | st.integers(1, 9)),
    batch=st.integers(0, 1000),
    stream=st.booleans(),
    sources=st.lists(st.builds(SourceArchive, st.text(), st.binary()), max_size=2).map(tuple),
    application_name=st.none() | st.text(),
    application_auth_mode=st.sampled_from([None, "public", "private", "shared"]),
    lifetime=st.sampled_from(["attached", "detached"]),
    traceparent=st.none() | st.text(),
    own_network=ports,
    reached_ports=ports,
    folders=st.none() | st.dictionaries(st.text(), st.text()),
    node=st.none() | st.builds(Node, st.integers(0, 9), st.lists(st.text()).map(tuple)),
)


def plain(value: Any) -> Any:
    """Return a call's field with its buffers as bytes, which compare."""
    if isinstance(value, Sealed):
        return value.data, [bytes(buffer) for buffer in value.buffers]
    if isinstance(value, SealedFunction):
        return [plain(getattr(value, field.name)) for field in attrs.fields(SealedFunction)]
    return value


@given(calls)
def test_calls_round_trip(call: Call) -> None:
    """A decoded call equals the one that was encoded, field by field."""
    decoded = decode_call(encode_call(call))

    for field in attrs.fields(Call):
        assert plain(getattr(decoded, field.name)) == plain(getattr(call, field.name))


def test_the_call_of_a_service_keeps_its_ports() -> None:
    """
    A service whose ports the host has chosen travels with them, and with its gateway.

    A port that the function declares goes before that of the host.
    """
    call = attrs.evolve(
        one_call(),
        gateway=Gateway(serve=True),
        host_options=HostOptions(health_check_config={"path": "/up"}, startup_timeout=3),
    )
    decoded = decode_call(encode_call(call.at_ports(4000, 4001)))

    assert decoded.gateway == call.gateway
    assert decoded.host_options == call.host_options
    assert open_arguments(decoded.arguments, None) == (
        (),
        {"exposed_port": 4000, "exposed_metrics_port": 4001},
    )
    declared = attrs.evolve(call, gateway=Gateway(serve=True, exposed_port=8080))
    assert open_arguments(declared.at_ports(4000, 4001).arguments, None) == (
        (),
        {"exposed_port": 8080, "exposed_metrics_port": 4001},
    )


def test_ports_are_written_as_the_worker_seals_plain_values() -> None:
    """The prefix that the contract writes itself is that of a plain seal of the worker."""
    data = one_call().at_ports(4000, 4001).arguments.data

    assert data.startswith(PLAIN_PREFIX)


def one_call() -> Call:
    """Return a call with a little of everything."""
    one = Sealed(b"\x01\x00\x03\x0bN.", (b"buffer",))
    return Call(
        id="1",
        name="f",
        function=SealedFunction(digest="d", native=one),
        arguments=one,
        environment=CurrentEnvironment(),
        host_options=HostOptions(keep_alive=5),
        gateway=Gateway(),
        sources=(SourceArchive("s", b"zip"),),
    )


def test_newer_version_is_refused() -> None:
    """The error for an unknown version names it and the known ones."""
    data = bytearray(encode_call(one_call()))
    struct.pack_into("<I", data, 4, ENVELOPE_VERSION + 1)

    with pytest.raises(FalSerializationError, match=f"version {ENVELOPE_VERSION + 1}"):
        decode_call(data)


def test_bytes_that_are_no_whole_call_are_refused() -> None:
    """Wherever a call is cut short it is refused in one sentence."""
    data = encode_call(one_call())

    for size in range(len(data)):
        with pytest.raises(FalSerializationError, match="not a whole call"):
            decode_call(data[:size])
    with pytest.raises(FalSerializationError, match="not a whole call"):
        decode_call(b"HTTP/1.1 200 OK\r\n\r\n" * 2)


def test_options_that_the_host_does_not_have_are_left_out() -> None:
    """A call that was made for a host with more options is read all the same."""

    @attrs.frozen(kw_only=True)
    class More(HostOptions):
        colour: str | None = None

    call = attrs.evolve(one_call(), host_options=More(colour="red", keep_alive=3))
    data = encode_call(call)

    assert decode_call(data).host_options == HostOptions(keep_alive=3)
    assert decode_call(data, options=More).host_options == More(colour="red", keep_alive=3)
