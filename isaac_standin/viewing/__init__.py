"""Cameras and the viewer window."""
