"""
Kind ``virtualenv``: a virtual environment built by uv.
"""
