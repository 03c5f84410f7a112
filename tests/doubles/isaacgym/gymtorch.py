"""Shares tensors with PyTorch, which the stand-in has no need of."""
