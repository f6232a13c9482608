"""Workers: this end of the streams to processes that run calls."""

from fal_core.workers.bootstrap import ARGUMENTS, arguments_for
from fal_core.workers.crash_output import CrashOutput
from fal_core.workers.open_files import given_to_children, most_open_files, raise_open_files
from fal_core.workers.opening import Beginning
from fal_core.workers.shared_memory import Arenas
from fal_core.workers.stopping import reason_of_exit
from fal_core.workers.worker import Explain, Worker, WorkerExecution, WorkerOwner

__all__ = [
    "ARGUMENTS",
    "Arenas",
    "Beginning",
    "CrashOutput",
    "Explain",
    "Worker",
    "WorkerExecution",
    "WorkerOwner",
    "arguments_for",
    "given_to_children",
    "most_open_files",
    "raise_open_files",
    "reason_of_exit",
]
