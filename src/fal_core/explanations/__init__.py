"""Explanations: what a host would do with a function, without doing it."""

from fal_core.explanations.explaining import Explanation, explain, explain_everywhere

__all__ = ["Explanation", "explain", "explain_everywhere"]
