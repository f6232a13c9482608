"""Functions and hosts."""

from fal_compat.container import ContainerImage as ContainerImage
from fal_compat.functions import function as function
from fal_core import FalMissingDependencyError as FalMissingDependencyError
from fal_core import FalSerializationError as FalSerializationError
from fal_core import FalServerlessError as FalServerlessError
from fal_core import FalServerlessException as FalServerlessException
from fal_core import Host as Host
from fal_core import InternalFalServerlessError as InternalFalServerlessError
from fal_core import IsolatedFunction as IsolatedFunction
from fal_core import Options as Options
from fal_core import RouteSignature as RouteSignature
from fal_core import ServedIsolatedFunction as ServedIsolatedFunction
from fal_core import SpawnInfo as SpawnInfo
from fal_core import UserFunctionException as UserFunctionException
from fal_core import cached as cached
from fal_core import find_missing_dependencies as find_missing_dependencies
from fal_core import merge_basic_config as merge_basic_config
from fal_host_local import LocalHost as LocalHost
from fal_host_serverless import Credentials as Credentials
from fal_host_serverless import FalServerlessHost as FalServerlessHost
from fal_host_serverless import RegisterApplicationResult as RegisterApplicationResult
from fal_serve import BaseServable as BaseServable
from fal_serve import FalFastAPI as FalFastAPI
from fal_serve import FalServer as FalServer
from fal_serve import HealthCheck as HealthCheck
from fal_serve import ServeWrapper as ServeWrapper
