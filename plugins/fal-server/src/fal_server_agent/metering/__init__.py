"""Metering: the memory and the GPUs that a runner uses, for whoever looks at it."""
