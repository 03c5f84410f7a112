"""Step all envs, on the CPU or a GPU."""
