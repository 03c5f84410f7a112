"""The tests that the pytest plugin adds to a session."""
