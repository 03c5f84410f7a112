"""HARL's runner of HAPPO, which hands its environment to the logger."""

from harl.runners.on_policy_ha_runner import OnPolicyHARunner


class MAPushHAPPORunner(OnPolicyHARunner):
    """Trains the pushing task."""

    def __init__(self, args, algo_args, env_args):
        super().__init__(args, algo_args, env_args)
        if hasattr(self.logger, "set_envs"):
            self.logger.set_envs(self.envs)
