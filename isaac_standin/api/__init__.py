"""What a program sees as `isaacgym`."""
