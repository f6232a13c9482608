"""Run Python functions anywhere: one decorator, and every host is a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.abilities import AnticipatingHost, DetachingHost, ExecutionStatus
    from fal_core.caches import cached
    from fal_core.calling.attaching import attach
    from fal_core.calls import Call, Node
    from fal_core.declaring.requirement_files import SCRIPT
    from fal_core.decorators import function
    from fal_core.environments import Command, Environment, Interpreter, LocalInterpreter
    from fal_core.errors import (
        Cancelled,
        EnvironmentBuildError,
        FalCoreError,
        FalMissingDependencyError,
        FalSerializationError,
        FalServerlessError,
        FalServerlessException,
        HostClosed,
        HostError,
        InternalFalServerlessError,
        OptionError,
        OptionTypeError,
        OptionValueError,
        OutOfMemory,
        PluginError,
        StartupTimeout,
        Timeout,
        UnknownNameError,
        UnknownOptionError,
        UnsupportedError,
        UserFunctionException,
        WorkerLost,
        WrongKindError,
    )
    from fal_core.events import (
        Event,
        Exited,
        HomeCall,
        Item,
        Log,
        LogSink,
        Outcome,
        Ready,
        Returned,
        Sink,
        Started,
        State,
    )
    from fal_core.executors.executors import Executor
    from fal_core.executors.joblib_backends import register_joblib_backend
    from fal_core.functions import IsolatedFunction, ServedIsolatedFunction
    from fal_core.groups.failures import NodeFailed
    from fal_core.hooks import API_VERSION, hookimpl
    from fal_core.hosts import Capabilities, Execution, Host
    from fal_core.importing.blocks import imports
    from fal_core.options import Gateway, HostOptions, Options, merge_basic_config
    from fal_core.routes import RouteSignature
    from fal_core.sealing.dependencies import find_missing_dependencies
    from fal_core.spawns import SpawnInfo
    from fal_core.workers.worker import ARGUMENTS, Worker
    from fal_core.wrappers import WrapperHost
    from fal_core_worker.nodes import current_node

__all__ = [
    "API_VERSION",
    "ARGUMENTS",
    "SCRIPT",
    "AnticipatingHost",
    "Call",
    "Cancelled",
    "Capabilities",
    "Command",
    "DetachingHost",
    "Environment",
    "EnvironmentBuildError",
    "Event",
    "Execution",
    "ExecutionStatus",
    "Executor",
    "Exited",
    "FalCoreError",
    "FalMissingDependencyError",
    "FalSerializationError",
    "FalServerlessError",
    "FalServerlessException",
    "Gateway",
    "HomeCall",
    "Host",
    "HostClosed",
    "HostError",
    "HostOptions",
    "InternalFalServerlessError",
    "Interpreter",
    "IsolatedFunction",
    "Item",
    "LocalInterpreter",
    "Log",
    "LogSink",
    "Node",
    "NodeFailed",
    "OptionError",
    "OptionTypeError",
    "OptionValueError",
    "Options",
    "OutOfMemory",
    "Outcome",
    "PluginError",
    "Ready",
    "Returned",
    "RouteSignature",
    "ServedIsolatedFunction",
    "Sink",
    "SpawnInfo",
    "Started",
    "StartupTimeout",
    "State",
    "Timeout",
    "UnknownNameError",
    "UnknownOptionError",
    "UnsupportedError",
    "UserFunctionException",
    "Worker",
    "WorkerLost",
    "WrapperHost",
    "WrongKindError",
    "attach",
    "cached",
    "current_node",
    "find_missing_dependencies",
    "function",
    "hookimpl",
    "imports",
    "merge_basic_config",
    "register_joblib_backend",
]

# Imported at their first use: `import fal_core.hosts` loads the contract alone.
_exports = lazily(
    __name__,
    {
        "API_VERSION": "fal_core.hooks",
        "ARGUMENTS": "fal_core.workers.worker",
        "AnticipatingHost": "fal_core.abilities",
        "Call": "fal_core.calls",
        "Cancelled": "fal_core.errors",
        "Capabilities": "fal_core.hosts",
        "Command": "fal_core.environments",
        "DetachingHost": "fal_core.abilities",
        "Environment": "fal_core.environments",
        "EnvironmentBuildError": "fal_core.errors",
        "Event": "fal_core.events",
        "Execution": "fal_core.hosts",
        "ExecutionStatus": "fal_core.abilities",
        "Executor": "fal_core.executors.executors",
        "Exited": "fal_core.events",
        "FalCoreError": "fal_core.errors",
        "FalMissingDependencyError": "fal_core.errors",
        "FalSerializationError": "fal_core.errors",
        "FalServerlessError": "fal_core.errors",
        "FalServerlessException": "fal_core.errors",
        "Gateway": "fal_core.options",
        "HomeCall": "fal_core.events",
        "Host": "fal_core.hosts",
        "HostClosed": "fal_core.errors",
        "HostError": "fal_core.errors",
        "HostOptions": "fal_core.options",
        "InternalFalServerlessError": "fal_core.errors",
        "Interpreter": "fal_core.environments",
        "IsolatedFunction": "fal_core.functions",
        "Item": "fal_core.events",
        "LocalInterpreter": "fal_core.environments",
        "Log": "fal_core.events",
        "LogSink": "fal_core.events",
        "Node": "fal_core.calls",
        "NodeFailed": "fal_core.groups.failures",
        "OptionError": "fal_core.errors",
        "OptionTypeError": "fal_core.errors",
        "OptionValueError": "fal_core.errors",
        "Options": "fal_core.options",
        "OutOfMemory": "fal_core.errors",
        "Outcome": "fal_core.events",
        "PluginError": "fal_core.errors",
        "Ready": "fal_core.events",
        "Returned": "fal_core.events",
        "RouteSignature": "fal_core.routes",
        "SCRIPT": "fal_core.declaring.requirement_files",
        "ServedIsolatedFunction": "fal_core.functions",
        "Sink": "fal_core.events",
        "SpawnInfo": "fal_core.spawns",
        "Started": "fal_core.events",
        "StartupTimeout": "fal_core.errors",
        "State": "fal_core.events",
        "Timeout": "fal_core.errors",
        "UnknownNameError": "fal_core.errors",
        "UnknownOptionError": "fal_core.errors",
        "UnsupportedError": "fal_core.errors",
        "UserFunctionException": "fal_core.errors",
        "Worker": "fal_core.workers.worker",
        "WorkerLost": "fal_core.errors",
        "WrapperHost": "fal_core.wrappers",
        "WrongKindError": "fal_core.errors",
        "attach": "fal_core.calling.attaching",
        "cached": "fal_core.caches",
        "current_node": "fal_core_worker.nodes",
        "find_missing_dependencies": "fal_core.sealing.dependencies",
        "function": "fal_core.decorators",
        "hookimpl": "fal_core.hooks",
        "imports": "fal_core.importing.blocks",
        "merge_basic_config": "fal_core.options",
        "register_joblib_backend": "fal_core.executors.joblib_backends",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
