"""Stand-ins for the modules that functions have left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def test_versions_of_one_module_do_not_disturb_each_other(run_project: Callable[..., str]):
    """
    In one worker two functions whose modules have the same name run as they are; for
    what has the same name pickle finds the last that came.
    """
    run_project(
        """
        import os, types
        from fal_core import function

        def load(text):
            module = types.ModuleType("versions")
            sys.modules["versions"] = module
            exec(text, vars(module))
            return module

        text = '''
        import os, pickle
        from fal_core import function
        class Own:
            version = {version}
        def only_{version}():
            return {version}
        @function("current", max_concurrency=1)
        def ask():
            assert pickle.loads(pickle.dumps(only_{version})) is only_{version}
            return os.getpid(), Own().version
        @function("current", max_concurrency=1)
        def dump():
            return pickle.loads(pickle.dumps(Own())).version
        '''
        text = text.replace("\\n        ", "\\n")
        first, second = load(text.format(version=1)), load(text.format(version=2))
        assert first.dump() == 1
        pid, version = first.ask()
        assert version == 1
        assert second.ask() == (pid, 2)
        assert second.dump() == 2
        assert first.ask() == (pid, 1)
        """
    )


def test_real_modules_come_before_those_that_travelled(
    run_project: Callable[..., str], tmp_path: Path
):
    """
    A module that travels as source is imported as it is, also where a function of it
    has travelled by value before.
    """
    (tmp_path / "helping.py").write_text("import tasks\n\ndef name():\n    return tasks.MARK\n")
    run_project(
        """
        import tasks
        from fal_core import function

        assert tasks.pickled().number == 3

        @function("current", local_python_modules=["tasks", "helping"])
        def ask():
            import helping

            return helping.name()

        assert ask() == 5
        """
    )


def test_error_for_a_name_that_did_not_travel(run_project: Callable[..., str]):
    """
    Unpickling a name in a child process that the worker does not have is an error that
    says what to do.
    """
    printed = run_project(
        """
        import tasks

        tasks.pickled()
        print(tasks.ask_for("speak"))
        """
    )
    assert "did not travel" in printed
    assert "beside" in printed
