"""Run Python functions anywhere: one decorator, and every host is a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.abilities import AnticipatingHost as AnticipatingHost
    from fal_core.abilities import DetachingHost as DetachingHost
    from fal_core.abilities import ExecutionStatus as ExecutionStatus
    from fal_core.caches import cached as cached
    from fal_core.calling.attaching import attach as attach
    from fal_core.calls import Call as Call
    from fal_core.calls import Node as Node
    from fal_core.declaring.requirement_files import SCRIPT as SCRIPT
    from fal_core.decorators import function as function
    from fal_core.environments import Command as Command
    from fal_core.environments import Environment as Environment
    from fal_core.environments import Interpreter as Interpreter
    from fal_core.environments import LocalInterpreter as LocalInterpreter
    from fal_core.errors import Cancelled as Cancelled
    from fal_core.errors import EnvironmentBuildError as EnvironmentBuildError
    from fal_core.errors import FalCoreError as FalCoreError
    from fal_core.errors import FalMissingDependencyError as FalMissingDependencyError
    from fal_core.errors import FalSerializationError as FalSerializationError
    from fal_core.errors import FalServerlessError as FalServerlessError
    from fal_core.errors import FalServerlessException as FalServerlessException
    from fal_core.errors import HostClosed as HostClosed
    from fal_core.errors import HostError as HostError
    from fal_core.errors import InternalFalServerlessError as InternalFalServerlessError
    from fal_core.errors import OptionError as OptionError
    from fal_core.errors import OptionTypeError as OptionTypeError
    from fal_core.errors import OptionValueError as OptionValueError
    from fal_core.errors import OutOfMemory as OutOfMemory
    from fal_core.errors import PluginError as PluginError
    from fal_core.errors import StartupTimeout as StartupTimeout
    from fal_core.errors import Timeout as Timeout
    from fal_core.errors import UnknownNameError as UnknownNameError
    from fal_core.errors import UnknownOptionError as UnknownOptionError
    from fal_core.errors import UnsupportedError as UnsupportedError
    from fal_core.errors import UserFunctionException as UserFunctionException
    from fal_core.errors import WorkerLost as WorkerLost
    from fal_core.errors import WrongKindError as WrongKindError
    from fal_core.events import Event as Event
    from fal_core.events import Exited as Exited
    from fal_core.events import HomeCall as HomeCall
    from fal_core.events import Item as Item
    from fal_core.events import Log as Log
    from fal_core.events import LogSink as LogSink
    from fal_core.events import Outcome as Outcome
    from fal_core.events import Ready as Ready
    from fal_core.events import Returned as Returned
    from fal_core.events import Sink as Sink
    from fal_core.events import Started as Started
    from fal_core.events import State as State
    from fal_core.executors.executors import Executor as Executor
    from fal_core.executors.joblib_backends import (
        register_joblib_backend as register_joblib_backend,
    )
    from fal_core.functions import IsolatedFunction as IsolatedFunction
    from fal_core.functions import ServedIsolatedFunction as ServedIsolatedFunction
    from fal_core.groups.failures import NodeFailed as NodeFailed
    from fal_core.hooks import API_VERSION as API_VERSION
    from fal_core.hooks import hookimpl as hookimpl
    from fal_core.hosts import Capabilities as Capabilities
    from fal_core.hosts import Execution as Execution
    from fal_core.hosts import Host as Host
    from fal_core.importing.blocks import imports as imports
    from fal_core.options import Gateway as Gateway
    from fal_core.options import HostOptions as HostOptions
    from fal_core.options import Options as Options
    from fal_core.options import merge_basic_config as merge_basic_config
    from fal_core.routes import RouteSignature as RouteSignature
    from fal_core.sealing.dependencies import (
        find_missing_dependencies as find_missing_dependencies,
    )
    from fal_core.spawns import SpawnInfo as SpawnInfo
    from fal_core.workers.worker import ARGUMENTS as ARGUMENTS
    from fal_core.workers.worker import Worker as Worker
    from fal_core.wrappers import WrapperHost as WrapperHost
    from fal_core_worker.nodes import current_node as current_node
else:
    # Imported at their first use: `import fal_core.hosts` loads the contract alone.
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.abilities": "AnticipatingHost DetachingHost ExecutionStatus",
            "fal_core.caches": "cached",
            "fal_core.calling.attaching": "attach",
            "fal_core.calls": "Call Node",
            "fal_core.declaring.requirement_files": "SCRIPT",
            "fal_core.decorators": "function",
            "fal_core.environments": "Command Environment Interpreter LocalInterpreter",
            "fal_core.errors": (
                "Cancelled EnvironmentBuildError FalCoreError FalMissingDependencyError "
                "FalSerializationError FalServerlessError FalServerlessException HostClosed "
                "HostError InternalFalServerlessError OptionError OptionTypeError "
                "OptionValueError OutOfMemory PluginError StartupTimeout Timeout "
                "UnknownNameError UnknownOptionError UnsupportedError UserFunctionException "
                "WorkerLost WrongKindError"
            ),
            "fal_core.events": (
                "Event Exited HomeCall Item Log LogSink Outcome Ready Returned Sink Started "
                "State"
            ),
            "fal_core.executors.executors": "Executor",
            "fal_core.executors.joblib_backends": "register_joblib_backend",
            "fal_core.functions": "IsolatedFunction ServedIsolatedFunction",
            "fal_core.groups.failures": "NodeFailed",
            "fal_core.hooks": "API_VERSION hookimpl",
            "fal_core.hosts": "Capabilities Execution Host",
            "fal_core.importing.blocks": "imports",
            "fal_core.options": "Gateway HostOptions Options merge_basic_config",
            "fal_core.routes": "RouteSignature",
            "fal_core.sealing.dependencies": "find_missing_dependencies",
            "fal_core.spawns": "SpawnInfo",
            "fal_core.workers.worker": "ARGUMENTS Worker",
            "fal_core.wrappers": "WrapperHost",
            "fal_core_worker.nodes": "current_node",
        },
    )
