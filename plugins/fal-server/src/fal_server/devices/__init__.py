"""Devices: the GPUs of this machine, and the line of runners that wait for them."""
