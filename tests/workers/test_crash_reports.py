"""Reports of crashes, as Python writes them."""

from __future__ import annotations

from fal_core.workers.crash_reports import split_report

HEAD = "Fatal Python error: Segmentation fault"
THREAD = "\nCurrent thread 0x00007f00 (most recent call first):\n"
OURS = '  File "/cache/x/fal_core_worker/running/serial.py", line 3 in run\n'
TAIL = '  File "<string>", line 1 in <module>\n'


def report(*frames: str) -> str:
    """Return a report of these frames and those of the worker."""
    mine = "".join(f"  File {frame}\n" for frame in frames)
    return f"{HEAD}\n{THREAD}{mine}{OURS}{TAIL}\nExtension modules: a, b (total: 2)\n"


def test_the_place_is_taken_out_of_the_output() -> None:
    """What the function has printed stays, and the report becomes the place of the crash."""
    text = f"printed\n{report(chr(34) + '/srv/mine.py' + chr(34) + ', line 12 in f')}"
    assert split_report(text) == ("printed", "f, line 12")


def test_a_crash_in_a_library_names_the_line_that_called_it() -> None:
    """The frames of the library are shown, without those of the worker."""
    library = '"/env/lib/python3.11/site-packages/lib/core.py", line 7 in multiply'
    rest, place = split_report(report(library, '"/home/me/mine.py", line 12 in f'))
    assert place == "f, line 12"
    assert rest.splitlines() == [
        HEAD,
        f"  File {library}",
        '  File "/home/me/mine.py", line 12 in f',
    ]


def test_a_report_without_frames_stays() -> None:
    """What says nothing of the function is shown as it is."""
    text = f"{HEAD}\n{THREAD}  <no Python frame>\n"
    assert split_report(text) == (text, "")


def test_other_output_stays() -> None:
    """What is no report is not looked at."""
    assert split_report("Fatal error: none") == ("Fatal error: none", "")
