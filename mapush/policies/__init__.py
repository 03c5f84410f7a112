"""Shipped weights, each with a card: how it was trained and what it scores."""
