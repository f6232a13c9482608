"""
Recipes: the options that tell one environment from another.
"""

from __future__ import annotations

from fal_env_virtualenv import Virtualenv


def test_recipe_has_what_tells_environments_apart() -> None:
    """
    How an environment is resolved and built is no part of its recipe.
    """
    plain = Virtualenv(requirements=["six"], tags=["mine"])
    assert plain.recipe == Virtualenv(requirements=[["six"]], tags=["mine"], force=True).recipe
    assert plain.recipe != Virtualenv(requirements=["six"]).recipe


def test_requirements_are_parsed_by_layer() -> None:
    """
    A recipe yields parsed entries, with or without their layers.
    """
    recipe = Virtualenv(requirements=[["six", "idna"], ["numpy>=2"]]).recipe
    layers = [[entry.text for entry in layer] for layer in recipe.parsed_layers()]
    assert layers == [["six", "idna"], ["numpy>=2"]]
    assert [entry.text for entry in recipe.requirements()] == ["six", "idna", "numpy>=2"]
