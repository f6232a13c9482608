"""CPython's own tests of executors, run with fal_core's in the place of its own."""
