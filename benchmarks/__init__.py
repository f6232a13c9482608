"""
The figures of fal-core beside those of its peers: ``python -m benchmarks``.

A figure is a question with a goal; its contestants answer it in turns, each in a
process of its own. ``figures`` has the values, ``contests`` the turns, and the
other modules the contestants, by theme.
"""
