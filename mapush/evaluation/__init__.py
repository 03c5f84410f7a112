"""Evaluation: policies under the published protocol, and the acceptance tests of the walking policy."""
