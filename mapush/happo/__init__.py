"""The learner: HAPPO on torch tensors. It knows neither environment nor simulator."""
