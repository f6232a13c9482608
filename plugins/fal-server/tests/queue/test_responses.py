"""
Responses of runners to queued requests.
"""

from __future__ import annotations


def test_answer_of_an_application_is_passed_on(served_plane, app):
    """
    Errors of the application, and bodies that are not JSON, arrive unchanged.
    """
    failed, text = served_plane.submit(f"{app}/fail"), served_plane.submit(f"{app}/text")
    answer = served_plane.finish(app, failed)
    assert (answer.status_code, answer.json()) == (422, {"detail": "It is wrong."})
    assert served_plane.status(app, failed).json()["error"] == "It is wrong."
    answer = served_plane.finish(app, text)
    assert (answer.headers["content-type"], answer.text) == ("text/plain", "words")
