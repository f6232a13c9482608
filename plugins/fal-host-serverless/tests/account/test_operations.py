"""Operations: how their requests are filled, and how arguments are checked."""

from __future__ import annotations

import functools
import time
from datetime import datetime, timezone
from typing import Any

import isolate_proto
import pytest

from fal_core.errors import OptionError
from fal_host_serverless import SyncServerlessClient
from fal_host_serverless.account.operations import check_names, fill

#: The time that the recorder gives to everything.
MOMENT = datetime(2031, 2, 3, 4, 5, tzinfo=timezone.utc)


def test_time_without_a_zone_is_local(
    asking: SyncServerlessClient, recorder: Any, monkeypatch: pytest.MonkeyPatch
):
    """A datetime without a time zone is local time."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        since = MOMENT.astimezone().replace(tzinfo=None)
        assert since != MOMENT.replace(tzinfo=None)
        asking.runners.list(since=since)
        asking.apps.runners("app", since=since)
    finally:
        monkeypatch.undo()
        time.tzset()
    for rpc in ("ListRunners", "ListAliasRunners"):
        told = recorder.last(rpc).start_time
        assert told.ToDatetime(tzinfo=timezone.utc) == MOMENT
    for ask in (asking.runners.list, functools.partial(asking.apps.runners, "app")):
        with pytest.raises(OptionError, match="'since' must be a datetime, not '10m'"):
            ask(since="10m")  # type: ignore[operator]  # wrong on purpose


def test_sequences_of_names_are_lists(asking: SyncServerlessClient, recorder: Any):
    """A tuple of names counts as a list."""
    asking.apps.scale("app", machine_types=("S", "M"), regions=())
    request = recorder.last("UpdateApplication")
    assert (list(request.machine_types), list(request.valid_regions)) == (["S", "M"], [])


def test_fields_that_are_none_are_not_set():
    """A field without a value stays as the service has it, and zero is a value."""
    message = fill(
        isolate_proto.UpdateApplicationRequest(),
        application_name="app",
        keep_alive=0,
        max_concurrency=None,
        machine_types=("S", "M"),
        valid_regions=None,
    )
    assert message.HasField("keep_alive")
    assert not message.HasField("max_concurrency")
    assert list(message.machine_types) == ["S", "M"]
    assert list(message.valid_regions) == []


@pytest.mark.parametrize("written", ["word", ["word", ""], [3], {"word": 1}, None])
def test_names_are_a_list_of_texts(written: Any):
    """Anything but a list or tuple of names is refused, with an example."""
    check_names("regions", ["eu"], "us-east")
    check_names("regions", (), "us-east")
    with pytest.raises(OptionError, match=r"'regions' must be a list.*as in \['us-east'\]"):
        check_names("regions", written, "us-east")
