"""MessagePack as the playground reads and writes it."""

from __future__ import annotations

import json
import pkgutil
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="There is no chromium here.")

#: Reads and writes a message; large integers and bytes are told by text.
PROGRAM = """(texts) => {
  %s
  const toByte = (hex) => parseInt(hex, 16);
  const toBytes = (text) => Uint8Array.from(text.match(/../g) ?? "", toByte);
  const toText = (byte) => (byte + 256).toString(16).slice(1);
  const toHex = (bytes) => [...bytes].map(toText).join("");
  return texts.map((text) => {
    try {
      const value = decodeMsgpack(toBytes(text));
      const shown = (key, each) => typeof each === "bigint" ? String(each) : each;
      return [toHex(encodeMsgpack(value)), JSON.stringify(value, shown) ?? null];
    } catch (error) {
      return [null, String(error.message)];
    }
  });
}"""


@pytest.fixture(scope="module")
def read_and_write() -> Iterator[Callable[[list[bytes]], list[Any]]]:
    """Have the browser decode messages and encode them again."""
    source = pkgutil.get_data("fal_serve.playground", "msgpack.js")
    assert source is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()

        def ask(messages: list[bytes]) -> list[Any]:
            texts = [each.hex() for each in messages]
            return list(page.evaluate(PROGRAM % source.decode(), texts))

        yield ask
        browser.close()


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=40)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=8), inner, max_size=20)
    ),
    max_leaves=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.lists(VALUES, min_size=1, max_size=20))
def test_what_is_read_is_written_again(read_and_write, values):
    """A decoded and encoded message has the same value for another library."""
    written = read_and_write([msgpack.packb(value) for value in values])

    for value, (text, _) in zip(values, written, strict=True):
        assert msgpack.unpackb(bytes.fromhex(text), strict_map_key=False) == value


@pytest.mark.parametrize("length", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_lengths_of_all_sizes(read_and_write, length):
    """Each encoding of a length is read and written as by the other library."""
    values = ["x" * length, b"x" * length, [1] * length, {str(i): i for i in range(length)}]
    packed = [msgpack.packb(value) for value in values]

    assert [text for text, _ in read_and_write(packed)] == [each.hex() for each in packed]


@pytest.mark.parametrize(
    "value",
    [
        *(0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53, 2**63, 2**64 - 1),
        *(-1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**63)),
    ],
)
def test_integers_take_as_few_bytes_as_can_be(read_and_write, value):
    """An integer is written as by the other library, without losing digits."""
    ((text, shown),) = read_and_write([msgpack.packb(value)])

    assert text == msgpack.packb(value).hex()
    assert int(shown.strip('"')) == value


def test_times_are_read(read_and_write):
    """Timestamps of each length are the same instant."""
    times = [
        msgpack.Timestamp(1),
        msgpack.Timestamp(1, 5_000_000),
        msgpack.Timestamp(-1, 5_000_000),
    ]
    shown = [json.loads(text) for _, text in read_and_write([msgpack.packb(t) for t in times])]

    assert shown == [
        "1970-01-01T00:00:01.000Z",
        "1970-01-01T00:00:01.005Z",
        "1969-12-31T23:59:59.005Z",
    ]


@pytest.mark.parametrize(
    "message",
    [
        *(b"", b"\xc1", b"\xa5ab", b"\x92\x01", b"\x81\xa1a", b"\xcf\x00", b"\x01\x02"),
        *(b"\xdd\xff\xff\xff\xff", b"\x91" * 5000, b"\xc7\x02\xff\x00\x00"),
    ],
)
def test_what_is_no_message_is_an_error(read_and_write, message):
    """Truncated, overlong and invalid bytes are errors."""
    ((text, reason),) = read_and_write([message])

    assert text is None
    assert reason.startswith(("The message", "No message", "A time"))
