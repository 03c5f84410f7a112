"""The command `run`: a command or a function in a process of its own, and why it ended."""
