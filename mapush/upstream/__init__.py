"""Adapters to code of other projects: MQE on Isaac Gym, HARL and OpenRL."""
