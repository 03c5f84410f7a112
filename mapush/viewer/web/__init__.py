"""The viewer in a browser: a page that shows the episodes and has the controls."""
