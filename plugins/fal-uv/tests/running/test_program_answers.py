"""Answers of programs, kept until the program changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fal_uv.running.program_answers import keep_answer, read_answer


def test_answer_holds_until_its_program_changes(tmp_path: Path) -> None:
    """An answer is read again as long as the file of its program is the same."""
    program, path = tmp_path / "program", str(tmp_path / "cache" / "answers.json")
    program.write_text("one")
    assert read_answer(path, "question") is None
    keep_answer(path, "question", {"version": "3.11.7"}, program=str(program))
    keep_answer(path, "another", "yes", program=str(program))
    assert read_answer(path, "question") == {"version": "3.11.7"}
    assert read_answer(path, "another") == "yes"
    program.write_text("changed")
    assert read_answer(path, "question") is None
    program.unlink()
    assert read_answer(path, "another") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"question": 1}', '{"question": {}}'])
def test_damaged_file_has_no_answers(tmp_path: Path, text: str) -> None:
    """A file that cannot be read counts as empty, and is written anew."""
    path = tmp_path / "answers.json"
    path.write_text(text)
    assert read_answer(str(path), "question") is None
    keep_answer(str(path), "question", "yes", program=sys.executable)
    assert read_answer(str(path), "question") == "yes"
