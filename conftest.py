"""Loads the plugin of the harness with its short options, and what selects the tests that can run here."""

pytest_plugins = ["harness.plugin", "selection"]
