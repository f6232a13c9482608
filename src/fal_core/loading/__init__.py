"""
Loading: the function that ``file.py::name`` stands for.
"""
