"""Other people's code: MQE on Isaac Gym, HARL, OpenRL."""
