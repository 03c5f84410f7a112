"""The tasks: observations, rewards, initial states and endings, behind the interface `VecEnv`."""
