"""
Pending requests: how long they have waited, and whether they are tried again.
"""

from __future__ import annotations

import sqlite3


def test_start_timeout_across_a_restart(served_plane):
    """
    The time in which no server ran counts towards the start timeout of a request.
    """
    served_plane.deploy("occupied")
    held = served_plane.submit("occupied/hold", {"gate": "occupied"})
    served_plane.begin("occupied", held)
    waiting = served_plane.submit("occupied", X_Fal_Request_Timeout="3600")
    served_plane.plane.close()
    with sqlite3.connect(served_plane.plane.settings.data / "state.db") as connection:
        earlier = "update requests set submitted_at = submitted_at - 7200 where id = ?"
        connection.execute(earlier, (waiting,))
    connection.close()
    served_plane.plane = served_plane._start()
    assert served_plane.finish("occupied", waiting).status_code == 504
    served_plane.open("occupied")
    assert served_plane.finish("occupied", held).status_code == 200
