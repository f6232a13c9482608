"""The page on which a service is tried in a browser, and its scripts."""

from fal_serve.playground.pages import make_page

__all__ = ["make_page"]
