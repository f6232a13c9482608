"""What mypy and pyright say of options, right ones and wrong ones; this file is never run."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from fal_core import Environment, Host, ServedIsolatedFunction, function
from fal_env_container import ContainerImage
from fal_env_virtualenv.kinds import Virtualenv


@function("virtualenv", requirements=["numpy"], keep_alive=60)
def embed(text: str) -> int:
    return len(text)


def kinds(place: Host[..., Any], theirs: Environment) -> None:
    """Each kind takes its own options, and all take those of hosts."""
    function()
    function(requirements=[["torch"], ["xformers"]], timeout=3, host=place)
    function("virtualenv", python_version="3.11", machine_type=["GPU-H100", "GPU-A100"])
    function("conda", packages=["numpy"], channels=("conda-forge",), min_concurrency=1)
    function("container", image="python:3.11", shm_size="2g")
    function(image=ContainerImage("FROM python:3.11"), keep_alive=3.5)
    function("current", secrets=["TOKEN"], setup_function=dict, wait=3)
    function(theirs, keep_alive=3, options={"colour": "red"})
    function("theirs", options={"colour": "red"}, keep_alive=3)


def results() -> None:
    """What it returns depends on whether the function is served."""

    def count(text: str) -> int:
        return len(text)

    served: ServedIsolatedFunction[[str], int] = function("conda", serve=True)(count)
    assert_type(served("a"), int)
    assert_type(function(Virtualenv())(count)("a"), int)
    assert_type(function("theirs", options={})(count)("a"), int)


def misspelt() -> None:
    """A name that is no option is an error, whatever the kind."""
    function("virtualenv", requirments=["numpy"])  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    function(requirments=["numpy"])  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    function("current", keep_aliv=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    function(Virtualenv(), keep_aliv=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    function("theirs", options={}, keep_aliv=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    function("theirs", colour="red")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    function("virtualenvv")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    embed.on(keep_aliv=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    embed.with_policy(timout=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def of_other_kinds() -> None:
    """An option of another kind is an error."""
    function("current", requirements=["numpy"])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    function("conda", image="python:3.11")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


def of_wrong_types() -> None:
    """A value of the wrong type is an error."""
    function(keep_alive="sixty")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    function("virtualenv", requirements="numpy")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    function("virtualenv", resolver="poetry")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    embed.on(keep_alive="sixty")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def moved() -> None:
    """``on`` takes the options of every kind, and returns the same function."""
    assert_type(embed.on("local", keep_alive=3, requirements=["numpy"])("a"), int)
    assert_type(embed.on(kind=Virtualenv(), options={"colour": "red"})("a"), int)
