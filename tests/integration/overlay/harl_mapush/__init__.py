"""Trains the pushing task with HARL."""
