"""
The kind ``container`` and its options.
"""

from __future__ import annotations

from fal_core.environments import Environment
from fal_env_container import Container


def test_images_have_keys_of_their_own():
    """
    The key of an environment tells images and platforms apart.
    """
    keys = {
        Container(image="a").key,
        Container(image="b").key,
        Container(image="a", platform="linux/arm64").key,
    }
    assert len(keys) == 3
    assert issubclass(Container, Environment)
