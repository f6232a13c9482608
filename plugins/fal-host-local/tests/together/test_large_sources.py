"""Source archives of any size reach a worker."""

from __future__ import annotations

from pathlib import Path


def test_large_module_travels(run_script, tmp_path: Path):
    """A module that is too large for the stream travels through shared memory."""
    filler = "\n".join(f"# {number:060}" for number in range(5_000))
    (tmp_path / "large.py").write_text(f"{filler}\nANSWER = 42\n")
    ended = run_script(
        """
        from fal_core import function
        import large

        @function("current")
        def answer():
            return large.ANSWER

        print(answer())
        """
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["42"]
