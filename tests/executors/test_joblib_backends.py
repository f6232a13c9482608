"""joblib and scikit-learn on the local host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from fal_core import OptionError, register_joblib_backend
from fal_host_local import LocalHost

joblib = pytest.importorskip("joblib")


@pytest.fixture
def backend(local_host: LocalHost) -> Iterator[None]:
    """The backend of the test, with two workers of its own."""
    register_joblib_backend("tested", "current", host=local_host)
    with joblib.parallel_config(backend="tested", n_jobs=2):
        yield


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def refuse(number: int) -> None:
    if number == 5:
        raise LookupError(number)


@pytest.mark.usefixtures("backend")
def test_jobs_run_in_workers():
    """The results of jobs come in order, from other processes than this one."""
    results = joblib.Parallel()(joblib.delayed(square)(number) for number in range(100))
    assert [result for result, _ in results] == [number**2 for number in range(100)]
    assert os.getpid() not in {process for _, process in results}


@pytest.mark.usefixtures("backend")
def test_an_error_of_a_job_ends_the_others():
    """What a job raises arrives, and the backend runs jobs again."""
    with pytest.raises(LookupError):
        joblib.Parallel()(joblib.delayed(refuse)(number) for number in range(100))
    # The same object would begin with jobs of before that it had put together and not sent.
    found = joblib.Parallel()(joblib.delayed(square)(number) for number in range(3))
    assert [each[0] for each in found] == [0, 1, 4]


@pytest.mark.usefixtures("backend")
def test_results_are_taken_as_they_come():
    """A generator of results, in any order, is taken to its end."""
    parallel = joblib.Parallel(return_as="generator_unordered")
    results: Any = parallel(joblib.delayed(square)(number) for number in range(50))
    assert sorted(result for result, _ in results) == [number**2 for number in range(50)]


@pytest.mark.usefixtures("backend")
def test_scikit_learn_validates_in_workers():
    """``cross_val_score`` gives what it gives without the backend."""
    selection = pytest.importorskip("sklearn.model_selection")
    from sklearn.datasets import load_iris
    from sklearn.naive_bayes import GaussianNB

    data, target = load_iris(return_X_y=True)
    scores = selection.cross_val_score(GaussianNB(), data, target, n_jobs=2)
    with joblib.parallel_config(backend="sequential"):
        alone = selection.cross_val_score(GaussianNB(), data, target)
    assert list(scores) == list(alone)


def test_wrong_options_are_refused_where_they_are_written(local_host: LocalHost):
    """Registering a backend checks its options."""
    with pytest.raises(OptionError, match="keep_alive"):
        register_joblib_backend("wrong", "current", host=local_host, keep_aliv=3)
    with pytest.raises(OptionError, match="n_jobs"):
        register_joblib_backend("wrong", "current", host=local_host, max_workers=3)
