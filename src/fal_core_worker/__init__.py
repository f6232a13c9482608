"""
The part of fal-core that runs inside the environment of the function.

It needs the standard library alone, and cloudpickle once code is opened. It is
sent to each worker as one archive, so that both ends of a call are one version.
"""
