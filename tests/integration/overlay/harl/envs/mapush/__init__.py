"""The pushing task."""
