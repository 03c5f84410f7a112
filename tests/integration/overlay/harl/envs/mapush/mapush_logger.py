"""HARL's logger with the pushing task's statistics."""

from harl.common.base_logger import BaseLogger


class MAPushLogger(BaseLogger):
    """Logs success and length of episodes."""

    def __init__(self, args, algo_args, env_args, num_agents, writter, run_dir):
        super().__init__(args, algo_args, env_args, num_agents, writter, run_dir)
        self.envs = None

    def set_envs(self, envs):
        """Take the training environment, whose statistics are logged."""
        self.envs = envs

    def get_task_name(self):
        """Return the name of the task."""
        return self.env_args["task"]

    def episode_log(self, actor_train_infos, critic_train_info, actor_buffer, critic_buffer):
        """Log losses, returns and statistics."""
        super().episode_log(actor_train_infos, critic_train_info, actor_buffer, critic_buffer)
        if hasattr(self.envs, "get_statistics"):
            stats = self.envs.get_statistics()
            print(f"[MAPush Stats] Success: {stats['success_rate']:.3f} | Episodes: {stats['num_episodes']}")
            self.writter.add_scalars(
                "mapush/success_rate", {"mapush/success_rate": stats["success_rate"]}, self.total_num_steps
            )
            self.envs.reset_statistics()
