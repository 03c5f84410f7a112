"""Enters the pushing task in the tables of a HARL whose files are left as they are; the runner imports this first."""

import harl.envs
import harl.runners.on_policy_base_runner as base_runner
from harl.envs.mapush.mapush_env import MAPushEnv
from harl.envs.mapush.mapush_logger import MAPushLogger
from harl.utils import configs_tools

upstreams_task_name = configs_tools.get_task_name


def get_task_name(env, env_args):
    if env == "mapush":
        return env_args["task"]
    return upstreams_task_name(env, env_args)


def make_train_env(env_name, seed, n_threads, env_args):
    return MAPushEnv({"n_threads": n_threads, **env_args})


def get_num_agents(env, env_args, envs):
    return envs.n_agents


harl.envs.LOGGER_REGISTRY["mapush"] = MAPushLogger
configs_tools.get_task_name = get_task_name
base_runner.make_train_env = make_train_env
base_runner.get_num_agents = get_num_agents
