"""The tasks: what the robots see, what they earn, when an episode ends."""
