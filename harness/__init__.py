"""Finds the bugs of an environment, of a learner and of a run in seconds, before the run starts."""
