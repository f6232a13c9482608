"""Laws of secrets: a function has the secrets that it names, and nobody else sees them."""

from __future__ import annotations

import os

import pytest

from fal_core.errors import FalCoreError
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect, expect_error
from fal_testing.harness.marks import Isolated
from fal_testing.harness.recorders import Follow


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
    """A secret is an environment variable of the function that names it."""
    name, value = secret

    @isolated(secrets=[name])
    def reveal(name: str) -> str | None:
        import os

        return os.environ.get(name)

    look = "Resolve call.host_options.secrets, and pass them to the worker as variables."
    expect(reveal(name) == value, True, "Whether a function found its secret", look)


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

    look = "Give a worker the secrets that its functions name, and share it with no others."
    expect(own(name), True, "Whether a function found the secret that it names", look)
    os.environ.pop(name)
    found = other(value)
    expect(found, False, "Whether a function found a secret that it does not name", look)


@requires("secrets")
def test_a_secret_is_not_seen_from_outside(
    isolated: Isolated, follow: Follow, secret: tuple[str, str], law_timeout: float
) -> None:
    """The value of a secret is in no argument of a process, no event and no encoded call."""
    name, value = secret

    @isolated(secrets=[name])
    def arguments() -> list[str]:
        with open("/proc/self/cmdline", "rb") as file:
            return file.read().decode("utf-8", "replace").split("\0")

    recorder = follow(arguments)
    result = recorder.result(law_timeout)
    look = "Pass the value in the variables of a process, or on its standard input."
    shown = any(value in argument for argument in result)
    expect(shown, False, "Whether a secret is in an argument of the worker", look)
    for what, text in (("an event", recorder.events), ("the call", recorder.call)):
        shown = value in repr(text)
        expect(shown, False, f"Whether a secret is in the text of {what}", look)


@requires("secrets")
def test_a_secret_that_is_not_set_is_an_error(isolated: Isolated) -> None:
    """A secret that the host does not have is an error that names it."""

    @isolated(secrets=["FAL_CORE_LAW_NO_SUCH_SECRET"])
    def give() -> int:
        return 1

    look = "Refuse it in Host.check, with an error that names the secret."
    with expect_error(FalCoreError, look, match="FAL_CORE_LAW_NO_SUCH_SECRET"):
        give()
