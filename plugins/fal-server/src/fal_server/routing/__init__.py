"""How a request finds a runner: applications, their pools of runners, and leases."""
