"""
Declarations: what clients say of environments and machines, in the core's terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from google.protobuf.json_format import MessageToDict

from fal_core.declaring.vocabulary import structure_environment
from fal_core.environments import Environment
from fal_core.errors import FalCoreError, UnknownNameError
from fal_core.options import Options
from fal_server.errors import Invalid

#: What clients send in a configuration that says nothing about what is installed.
_SPELLINGS = {"install_requires": "requirements"}

#: Files of the client's machine; what they say has to be sent.
_LOCAL = ("constraints_file",)


def read_environment(definitions: Sequence[Any]) -> Environment:
    """
    Return the environment that a client asks for.

    Raises:
        Invalid: There is none, there are several, no installed plugin has the kind, or
            it is declared wrongly.
    """
    if len(definitions) != 1:
        raise Invalid(f"One environment is needed, and {len(definitions)} were sent.")
    definition = definitions[0]
    sent = (
        MessageToDict(definition.configuration) if definition.HasField("configuration") else {}
    )
    written = {_SPELLINGS.get(name, name): whole(value) for name, value in sent.items()}
    for name in _LOCAL:
        if written.pop(name, None):
            raise Invalid(f"Option {name!r} names a file, which this server does not have.")
    kind = definition.kind or "virtualenv"
    known = {field.name for field in attrs.fields(_class_of(kind))}
    if definition.force and "force" in known:
        written["force"] = True
    kept = {name: value for name, value in written.items() if value is not None}
    try:
        return structure_environment(Options(environment={**kept, "kind": kind}))
    except FalCoreError as error:
        raise Invalid(str(error)) from error


def _class_of(kind: str) -> type[Any]:
    from fal_core.plugins.installed import find_environment

    try:
        return find_environment(kind)
    except UnknownNameError as error:
        # What its hint says to install is nothing for a client to install.
        known = " and ".join(error.known)
        raise Invalid(
            f"This server has no environments of kind {kind[:80]!r}, it has those of {known}."
        ) from error
    except FalCoreError as error:
        raise Invalid(str(error)) from error


def whole(value: Any) -> Any:
    """
    Return *value* with integers where a message had to say doubles.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [whole(each) for each in value]
    return value


def read_health_check(message: Any) -> dict[str, Any] | None:
    """
    Return how an application is asked for its health, None where nothing is said.
    """
    if not message.HasField("health_check_config"):
        return None
    config = message.health_check_config
    check: dict[str, Any] = {"path": config.path}
    for name in (
        "start_period_seconds",
        "timeout_seconds",
        "failure_threshold",
        "call_regularly",
        "allow_on_busy",
    ):
        if config.HasField(name):
            check[name] = getattr(config, name)
    if config.HasField("method"):
        check["method"] = type(config).Method.Name(config.method)
    return check if check["path"] else None
