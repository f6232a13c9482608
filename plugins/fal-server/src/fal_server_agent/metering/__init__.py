"""Metering: the memory and the GPUs that a runner uses."""
