"""
The part of fal-core that runs inside the environment of the function.

It needs only the standard library, and cloudpickle once code is opened. It is sent to
each worker as an archive, so that both ends of a call are the same version.
"""
