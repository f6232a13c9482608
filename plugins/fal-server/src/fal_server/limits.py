"""Limits: how much a server takes from those who talk to it."""

from __future__ import annotations

from typing import Any, Literal

import attrs

#: What a limit is counted in: bytes, things, or seconds.
Unit = Literal["size", "number", "seconds"]


def _limit(default: float | None, unit: Unit, text: str, shown: str = "") -> Any:
    """
    Return the field of a limit. Where its default is worked out when the server starts, it is
    None, and *shown* describes it.
    """
    return attrs.field(default=default, metadata={"unit": unit, "text": text, "shown": shown})


@attrs.frozen(kw_only=True)
class Limits:
    """
    How much a server takes from those who talk to it.

    Each is an option of ``fal-core server start``, with its name and dashes: limits are
    declared here alone.
    """

    largest_message: int = _limit(512 << 20, "size", "The largest gRPC message that is read.")
    most_calls: int = _limit(10_000, "number", "How many gRPC calls run at once.")
    largest_result: int = _limit(
        512 << 20, "size", "The largest result of a function that is read from its runner."
    )
    most_inputs: int = _limit(
        10_000, "number", "How many inputs one call maps a function over."
    )
    longest_head: float = _limit(20.0, "seconds", "How long the head of a request may take.")
    longest_stall: float = _limit(
        20.0, "seconds", "How long a client may take to send, or to read, 16K of a body."
    )
    longest_idle: float = _limit(
        300.0, "seconds", "How long a connection without a key may have no request."
    )
    largest_websocket_message: int = _limit(
        1 << 20, "size", "The largest message of a websocket without a key."
    )
    most_waiting: int = _limit(
        5_000, "number", "How many requests of an application wait for a runner, unqueued."
    )
    largest_waiting: int = _limit(
        256 << 20, "size", "The bytes of the requests of an account that wait, unqueued."
    )
    most_connections: int = _limit(10_000, "number", "How many connections are open at once.")
    most_connections_by_address: int = _limit(
        1_000, "number", "How many of them come from one address."
    )
    most_uploads: int = _limit(
        1_000, "number", "How many uploads in parts an account has begun and not finished."
    )
    most_files: int = _limit(
        1_000_000, "number", "How many files, and parts of files, an account stores."
    )
    largest_storage: int = _limit(512 << 30, "size", "The bytes of the files of an account.")
    most_values: int = _limit(
        100_000, "number", "How many values an account keeps in key-value stores."
    )
    largest_values: int = _limit(
        256 << 20, "size", "The bytes of the values of an account in key-value stores."
    )
    largest_environment: int = _limit(
        2 << 20, "size", "The description of an environment, with its Dockerfile or its lock."
    )
    most_image_files: int = _limit(
        20_000, "number", "How many files the Dockerfile of an image copies."
    )
    largest_image_files: int = _limit(
        16 << 30, "size", "The bytes of the files that the Dockerfile of an image copies."
    )
    most_builds: int = _limit(
        4, "number", "How many environments of an account are built at once; others wait."
    )
    most_build_contexts: int = _limit(
        200,
        "number",
        "How many sets of files an account has images built of in an hour.",
    )
    longest_line: int = _limit(64 << 10, "size", "The longest line of a runner that is kept.")
    line_rate: int = _limit(
        4 << 20, "size", "The bytes of lines that a runner prints in a second, on average."
    )
    largest_runner_logs: int = _limit(
        256 << 20, "size", "The bytes of the lines that are kept of a runner."
    )
    largest_logs: int = _limit(
        4 << 30, "size", "The bytes of the lines that are kept of an account."
    )
    most_queued: int = _limit(
        250_000, "number", "How many queued requests of an application are unanswered."
    )
    most_queued_by_account: int = _limit(
        500_000, "number", "How many queued requests of an account are unanswered."
    )
    largest_queue: int = _limit(
        32 << 30, "size", "The bytes of the unanswered queued requests of an application."
    )
    largest_queue_by_account: int = _limit(
        64 << 30, "size", "The bytes of the unanswered queued requests of an account."
    )
    largest_queued_body: int = _limit(64 << 20, "size", "The largest body of a queued request.")
    largest_queued_response: int = _limit(
        1 << 30, "size", "The largest response to a queued request."
    )
    largest_responses: int = _limit(
        64 << 30, "size", "The bytes of the kept responses of an account; old ones go first."
    )
    responses_kept: float = _limit(
        24 * 3600.0, "seconds", "How long responses to queued requests are kept."
    )
    most_webhooks: int = _limit(
        100_000, "number", "How many webhooks of an account are still to be delivered."
    )
    disk_reserve: int | None = _limit(
        None,
        "size",
        "What stays free on the disk of the data directory: while there is less, no queued "
        "request without a key is accepted.",
        shown="5 % of the disk, at least 1G",
    )


def option_of(limit: str) -> str:
    """Return the command-line option of a limit, by its name in :class:`Limits`."""
    return "--" + limit.replace("_", "-")


def write_default(field: attrs.Attribute[Any]) -> str:
    """Return the default of a limit as a user writes it, as in ``512M``."""
    value = field.default
    if value is None:
        return str(field.metadata["shown"])
    assert isinstance(value, (int, float))
    if field.metadata["unit"] != "size":
        return f"{value:g}" if isinstance(value, float) else str(value)
    return write_size(int(value))


def write_size(size: int) -> str:
    """Return a number of bytes as a user writes it, as in ``512M``."""
    for power, letter in ((30, "G"), (20, "M"), (10, "K")):
        if size and not size % (1 << power):
            return f"{size >> power}{letter}"
    return str(size)
