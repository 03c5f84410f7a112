"""Make one MuJoCo model of the actors of all envs, and arrays of what differs from env to env."""
