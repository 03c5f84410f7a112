"""The training stack under the harness: learner, rollout, logger, configuration and checkpoint."""
