"""Films: finished episodes written to a video or to an HTML page."""
