"""Empty: the fake does not need to share tensors with PyTorch."""
