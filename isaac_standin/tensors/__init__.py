"""State tensors of Isaac Gym, their refresh and their setters, on either engine."""
