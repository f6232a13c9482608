"""Networks: where a runner is reached, and how its programs reach the server."""
