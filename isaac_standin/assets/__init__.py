"""Read robots and objects from URDF and MJCF files, in Isaac Gym's order and with its rules."""
