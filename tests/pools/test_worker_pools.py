"""The pools of a host: which calls share workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_core import function
from fal_core.environments import CurrentEnvironment
from fal_core.options import HostOptions
from fal_core.pools import shared_by
from fal_host_local import LocalHost
from fal_testing import InProcessHost
from fal_testing.harness.processes import wait_until


@attrs.frozen(kw_only=True)
class OwnOptions(HostOptions):
    """Options of a host of its own."""

    partition: str | None = None
    tags: Any = None


def call_with(**changes: Any) -> Any:
    """Return a call with other options or another origin."""
    call = function("current", host=InProcessHost())(len).make_launcher().call((((),), {}))
    options = {name: value for name, value in changes.items() if name != "origin"}
    return attrs.evolve(
        call, host_options=OwnOptions(**options), origin=changes.get("origin", call.origin)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"request_timeout": 3.0},
        {"metadata": {"a": 1}},
        {"retry_config": {"attempts": 3}},
        {"termination_grace_period_seconds": 3},
        {"origin": "/elsewhere.py"},
    ],
    ids=str,
)
def test_what_is_a_calls_own_shares(changes: dict[str, Any]) -> None:
    """Calls share workers whatever options of calls they have."""
    assert shared_by(call_with(**changes)) == shared_by(call_with())


@pytest.mark.parametrize(
    "changes",
    [
        {"keep_alive": 3.0},
        {"max_concurrency": 3},
        {"machine_type": "GPU-H100"},
        {"num_gpus": 1},
        {"logging": "INFO"},
        {"secrets": ("TOKEN",)},
        {"partition": "gpu"},
        {"tags": ["not", "hashable"]},
    ],
    ids=str,
)
def test_what_a_worker_is_started_with_does_not(changes: dict[str, Any]) -> None:
    """Calls do not share workers that differ, and those of the same options do."""
    assert shared_by(call_with(**changes)) != shared_by(call_with())
    assert shared_by(call_with(**changes)) == shared_by(call_with(**changes))


def test_functions_of_two_files_have_their_own_secrets() -> None:
    """Secrets may be in a file beside the function."""
    one, other = (
        call_with(secrets=("TOKEN",), origin=origin) for origin in ("/a/x.py", "/b/x.py")
    )
    assert shared_by(one) != shared_by(other)


def test_every_worker_has_the_secrets(
    host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is started before a call needs it finds the secrets of the function as well."""
    monkeypatch.chdir("/")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / ".env").write_text("POOL_TOKEN=found\n")
    source = "import os\ndef look():\n    return os.environ['POOL_TOKEN']\n"
    (tmp_path / "secretive_functions.py").write_text(source)
    import secretive_functions  # type: ignore[import-not-found]  # written above

    look = function("current", host=host, secrets=["POOL_TOKEN"], min_concurrency=2)(
        secretive_functions.look
    )

    assert look() == "found"
    assert wait_until(lambda: host.worker_count == 2, 60.0)


def test_the_same_environment_is_found_again(host: LocalHost) -> None:
    """Two equal declarations have one pool."""
    one, other = CurrentEnvironment(), CurrentEnvironment()
    host.expect(one, HostOptions(), _gateway())
    host.expect(other, HostOptions(), _gateway())
    assert len(host._pools.pools) == 1


def _gateway() -> Any:
    from fal_core.options import Gateway

    return Gateway()
