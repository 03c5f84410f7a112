"""CUDA: what its errors mean, and graphs that replay what was recorded once."""
