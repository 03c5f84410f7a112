"""Training with several processes: ranks that share the envs of one run, and learn one policy."""
