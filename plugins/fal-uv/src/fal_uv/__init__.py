"""Python requirements and uv, as a library for kinds of environments."""
