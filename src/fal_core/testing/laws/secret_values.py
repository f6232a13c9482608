"""
Laws of secrets: a function has the secrets that it names, and nobody else sees them.
"""

from __future__ import annotations

import os

import pytest

from fal_core.errors import FalCoreError
from fal_core.testing.harness.capabilities import requires
from fal_core.testing.harness.marks import Isolated
from fal_core.testing.harness.recorders import Follow


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """
    The name of a secret that the host can resolve, and its value.

    By default it is an environment variable of this process.
    """
    name, value = "FAL_CORE_LAW_SECRET", f"secret-{os.urandom(8).hex()}"
    monkeypatch.setenv(name, value)
    return name, value


@requires("secrets")
def test_a_function_has_the_secrets_it_names(
    isolated: Isolated, secret: tuple[str, str]
) -> None:
    """
    A secret is an environment variable of the function that names it.
    """
    name, value = secret

    @isolated(secrets=[name])
    def reveal(name: str) -> str | None:
        import os

        return os.environ.get(name)

    assert reveal(name) == value


@requires("secrets")
def test_a_function_has_no_secrets_that_it_does_not_name(
    isolated: Isolated, secret: tuple[str, str]
) -> None:
    """
    A secret of one function is not in the environment of another.

    The other one names a secret too, so that neither sees the caller's own variables.
    """
    name, value = secret

    @isolated(secrets=[name])
    def own(name: str) -> bool:
        import os

        return name in os.environ

    @isolated(max_concurrency=2)
    def other(value: str) -> bool:
        import os

        return value in os.environ.values()

    assert own(name)
    os.environ.pop(name)
    assert not other(value)


@requires("secrets")
def test_a_secret_is_not_seen_from_outside(
    isolated: Isolated, follow: Follow, secret: tuple[str, str], law_timeout: float
) -> None:
    """
    The value of a secret is in no argument of a process, no event and no encoded call.
    """
    name, value = secret

    @isolated(secrets=[name])
    def arguments() -> list[str]:
        with open("/proc/self/cmdline", "rb") as file:
            return file.read().decode("utf-8", "replace").split("\0")

    recorder = follow(arguments)
    result = recorder.result(law_timeout)
    assert not any(value in argument for argument in result)
    assert value not in repr(recorder.events)
    assert value not in repr(recorder.call)


@requires("secrets")
def test_a_secret_that_is_not_set_is_an_error(isolated: Isolated) -> None:
    """
    A secret that the host does not have is an error that names it.
    """

    @isolated(secrets=["FAL_CORE_LAW_NO_SUCH_SECRET"])
    def give() -> int:
        return 1

    with pytest.raises(FalCoreError, match="FAL_CORE_LAW_NO_SUCH_SECRET"):
        give()
