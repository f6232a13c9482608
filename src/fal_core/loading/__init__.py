"""
Loading: the isolated function that ``file.py::name`` stands for.
"""
