"""Helpers that make an environment from arguments and configuration."""

from .helpers import class_to_dict, make_env, set_seed

__all__ = ["class_to_dict", "make_env", "set_seed"]
