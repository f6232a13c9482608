"""Permissions: what a key may do, and which permission each gRPC method requires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fal_server.errors import Forbidden, Invalid

#: All permissions, and what each allows.
PERMISSIONS: Mapping[str, str] = {
    "account:settings:read": "see who the account is, and its teams",
    "account:keys:read": "list keys",
    "account:keys:write": "create and revoke keys",
    "models:requests:submit": "send requests to applications, and cancel them",
    "models:requests:read": "see the state and the result of requests",
    "storage:files:read": "read uploaded files",
    "storage:files:write": "upload files, and store values",
    "storage:data:read": "read the files of the account in /data",
    "storage:data:write": "change and remove the files of the account in /data",
    "serverless:apps:read": "list applications, revisions and aliases",
    "serverless:apps:run": "run functions that come with the call",
    "serverless:apps:deploy": "register, change and remove applications",
    "serverless:environments:read": "list environments",
    "serverless:environments:write": "create and remove environments",
    "serverless:logs:read": "read logs",
    "serverless:queue:read": "see the length of queues",
    "serverless:queue:write": "flush queues",
    "serverless:runners:read": "list runners",
    "serverless:runners:write": "stop and kill runners, and enter them",
    "serverless:secrets:read": "list the names of secrets",
    "serverless:secrets:write": "set and remove secrets",
}

_SERVERLESS = frozenset(each for each in PERMISSIONS if each.startswith("serverless:"))
_MODELS = frozenset({"models:requests:submit", "models:requests:read"})
_FILES = frozenset({"storage:files:read", "storage:files:write"})
#: Applications load code and models from there: who may change it may change what they do.
_DATA = frozenset({"storage:data:read", "storage:data:write"})
_WHO = frozenset({"account:settings:read"})

#: The permissions of the documented presets. This server has no invoices and no agents, so
#: that of their presets little is left but to see who the account is.
PRESETS: Mapping[str, frozenset[str]] = {
    "FULL": frozenset(PERMISSIONS),
    "API": _MODELS | _FILES | _WHO,
    "DEPLOY": _FILES
    | _DATA
    | _WHO
    | {
        "serverless:apps:read",
        "serverless:apps:run",
        "serverless:apps:deploy",
        "serverless:environments:read",
        "serverless:secrets:read",
    },
    "READONLY": frozenset(
        each
        for each in PERMISSIONS
        if each.endswith(":read") and not each.startswith("account:keys")
    ),
    "BILLING": _WHO,
    "COMPUTE": _WHO | {each for each in _SERVERLESS if ":runners:" in each},
    "SERVERLESS": _SERVERLESS | _MODELS | _FILES | _DATA | _WHO,
    "AGENT": _WHO | _MODELS,
}

#: The permission that each gRPC method requires.
PROCEDURES: Mapping[str, str] = {
    "Run": "serverless:apps:run",
    "InteractiveRun": "serverless:apps:run",
    "Map": "serverless:apps:run",
    "BuildEnvironment": "serverless:apps:run",
    "RegisterApplication": "serverless:apps:deploy",
    "UpdateApplication": "serverless:apps:deploy",
    "ListApplications": "serverless:apps:read",
    "DeleteApplication": "serverless:apps:deploy",
    "RolloutApplication": "serverless:apps:deploy",
    "SetAlias": "serverless:apps:deploy",
    "DeleteAlias": "serverless:apps:deploy",
    "ListAliases": "serverless:apps:read",
    "ListAliasRunners": "serverless:runners:read",
    "ListRunners": "serverless:runners:read",
    "StopRunner": "serverless:runners:write",
    "KillRunner": "serverless:runners:write",
    "ShellRunner": "serverless:runners:write",
    "CreateUserKey": "account:keys:write",
    "ListUserKeys": "account:keys:read",
    "RevokeUserKey": "account:keys:write",
    "SetSecret": "serverless:secrets:write",
    "ListSecrets": "serverless:secrets:read",
    "ListEnvironments": "serverless:environments:read",
    "CreateEnvironment": "serverless:environments:write",
    "DeleteEnvironment": "serverless:environments:write",
}


def permissions_of(preset: str, named: Iterable[str] = ()) -> frozenset[str]:
    """
    Return the permissions of *preset*, or those *named* where it is empty.

    Raises:
        Invalid: There is no such preset or permission, or none is asked for.
    """
    if preset:
        if preset not in PRESETS:
            raise Invalid(
                f"Unknown preset {preset!r}. There are: {', '.join(sorted(PRESETS))}."
            )
        return PRESETS[preset]
    wanted = frozenset(named)
    if not wanted:
        raise Invalid("A key needs a preset or at least one permission.")
    unknown = sorted(wanted - PERMISSIONS.keys())
    if unknown:
        raise Invalid(
            f"Unknown permission {unknown[0][:80]!r}. "
            f"There are: {', '.join(sorted(PERMISSIONS))}."
        )
    return wanted


def granted(preset: str, stored: frozenset[str]) -> frozenset[str]:
    """Return what a key may do: what was *stored* with it, and what its *preset* allows now."""
    return stored | PRESETS.get(preset, frozenset())


def require(held: frozenset[str], permission: str) -> None:
    """
    Check that *permission* is among those *held*.

    Raises:
        Forbidden: It is not.
    """
    if permission not in held:
        raise Forbidden(
            f"Insufficient permissions: this key may not {PERMISSIONS[permission]} "
            f"({permission})."
        )
