"""Tests run under the plugin of the harness, whether it is installed or not."""

pytest_plugins = ["harness.plugin", "selection"]
