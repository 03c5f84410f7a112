"""The learner: HAPPO on torch tensors. It imports neither environments nor simulators."""
