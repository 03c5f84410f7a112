"""Soak anything: the user's own loops, environments and runners, and whole commands, measured from outside."""
