"""A backend of joblib, and so of scikit-learn, that runs on any host."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fal_core.errors import OptionError
from fal_core.executors.executors import Executor

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fal_core.environments import Environment
    from fal_core.hosts import Host
    from fal_core.keywords.options import ExecutorKeywords


def register_joblib_backend(
    name: str = "fal-core",
    /,
    kind: str | Environment = "virtualenv",
    *,
    host: Host[Any, Any] | str | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    **config: Unpack[ExecutorKeywords],
) -> None:
    """
    Register a backend of joblib that runs its jobs in an :class:`Executor`.

    ``with joblib.parallel_config(backend=name, n_jobs=4):`` uses it. Options that are given
    there take precedence. joblib must be installed here, and be in the environment.

    Arguments:
        kind: Of the environment, or an environment.

        host: As for :class:`Executor`, and so are the arguments after it. ``max_workers`` is
            not among them, as it is ``n_jobs``.

    Raises:
        OptionError: An option is wrong, or joblib is not installed.
    """
    if "max_workers" in config:
        raise OptionError("A backend of joblib has no option 'max_workers'. Write n_jobs=….")
    try:
        import joblib
    except ModuleNotFoundError as error:
        raise OptionError(
            "joblib is not installed here. Install it to register a backend with it."
        ) from error
    options: dict[str, Any]
    options = {"host": host, "initializer": initializer, "initargs": initargs, **config}
    # What is wrong is said where it is written.
    Executor(kind, **options)

    def make(**more: Any) -> Any:
        return _backend_class()(kind=kind, options=options, **more)

    joblib.register_parallel_backend(name, make)


def _backend_class() -> Any:
    from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

    class Backend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # no types
        """Runs the jobs of joblib in an executor."""

        supports_retrieve_callback = True
        default_n_jobs = -1

        def __init__(
            self,
            *,
            kind: str | Environment,
            options: dict[str, Any],
            nesting_level: int | None = None,
            inner_max_num_threads: int | None = None,
            **more: Any,
        ) -> None:
            super().__init__(
                nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads
            )
            self._kind = more.pop("kind", kind)
            self._options = {**options, **more}
            self._executor: Executor | None = None

        def effective_n_jobs(self, n_jobs: int | None) -> int:
            """Return how many jobs run at once: all processors of this machine for -1."""
            import joblib

            if n_jobs == 0:
                raise ValueError("n_jobs == 0 in Parallel has no meaning")
            if n_jobs is None:
                return 1
            count: int = joblib.cpu_count()
            return n_jobs if n_jobs > 0 else max(1, count + 1 + n_jobs)

        def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
            """Make an executor of *n_jobs* workers, and return how many they are."""
            self.parallel = parallel
            workers = self.effective_n_jobs(n_jobs)
            self._executor = Executor(self._kind, max_workers=workers, **self._options)
            return workers

        def submit(self, func: Any, callback: Any = None) -> Any:
            """Queue a batch of jobs and return its future."""
            assert self._executor is not None
            future = self._executor.submit(func)
            if callback is not None:
                future.add_done_callback(callback)
            return future

        #: What joblib has called it before version 1.5.
        apply_async = submit

        def retrieve_result_callback(self, out: Any) -> Any:
            """Return the results of a batch that has ended, or raise its error."""
            return out.result()

        def abort_everything(self, ensure_ready: bool = True) -> None:
            """Cancel the jobs that do not run yet: another one has failed."""
            if self._executor is not None:
                self._executor.shutdown(wait=False, cancel_futures=True)
                self._executor = None
            if ensure_ready:
                self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)

        def terminate(self) -> None:
            """Take no more jobs. Workers stay warm for a while."""
            if self._executor is not None:
                self._executor.shutdown(wait=False, cancel_futures=True)
                self._executor = None
            self.reset_batch_stats()

    return Backend
