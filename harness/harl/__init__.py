"""The user's own HARL: what it accepts, and a small run of the user's own runner and logger on it.

Only the modules that run in a child process import `harl` and torch.
"""
