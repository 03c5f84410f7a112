"""Environments with an object that is not a robot."""
