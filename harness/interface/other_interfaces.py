"""Other interfaces than HARL's, told apart by how they look, and how to wrap each."""

from __future__ import annotations

import inspect
from typing import Any, Optional, Tuple

from harness.findings import ContractError
from harness.interface import step_checks

WRAPPER = "write a class with reset() -> (obs, share_obs, available_actions) and step(actions) -> (obs, share_obs, "
WRAPPER += "rewards, dones, infos, available_actions), all numpy arrays [num_envs, num_agents, ...]; "


def refuse(env: Any) -> None:
    """Raise if an environment has another interface than HARL's.

    Raises:
      ContractError: of the contract "factory", with the name of the interface and how to wrap it.
    """
    found = identify(env)
    if found is None:
        return
    kind, how = found
    raise ContractError(
        f"the factory returns {kind}, not HARL's interface",
        contract="factory",
        got=f"{type(env).__module__}.{type(env).__qualname__}",
        expected="reset, step, close and the three lists of spaces, one for each agent",
        fix=how,
    )


def identify(env: Any) -> Optional[Tuple[str, str]]:
    """Return what an object is and how to wrap it, or None if it may have HARL's interface."""
    looks = (
        (env is None or isinstance(env, (int, float, str, dict, list, tuple)), _plain),
        (inspect.isclass(env) or inspect.isfunction(env) or inspect.isgenerator(env), _factory),
        (_is_mapush(env), _mapush),
        (hasattr(env, "share_observation_space") and not _has_dicts(env), None),
        (isinstance(getattr(env, "observation_space", None), (list, tuple)), None),
        (hasattr(env, "agent_iter"), _aec),
        (hasattr(env, "possible_agents"), _parallel),
        (_has_dicts(env), _dicts),
        (hasattr(env, "single_observation_space"), _vector),
        (hasattr(env, "step_async") and hasattr(env, "step_wait"), _sb3),
        (hasattr(env, "observation_spec") and hasattr(env, "rand_step"), _torchrl),
        (hasattr(env, "observation_spec") and hasattr(env, "action_spec"), _dm_env),
        (_is_torch(env), _torch),
        (hasattr(env, "observation_space") and hasattr(env, "step"), _gymnasium),
    )
    describe = next((describe for found, describe in looks if found), None)
    return describe(env) if describe else None


def _is_mapush(env: Any) -> bool:
    return any(one.__module__ == "mapush.env.vec_env" and one.__name__ == "VecEnv" for one in type(env).__mro__)


def _has_dicts(env: Any) -> bool:
    return any(isinstance(getattr(env, name, None), dict) for name in step_checks.SPACES)


def _is_torch(env: Any) -> bool:
    return any(type(value).__module__.split(".")[0] == "torch" for value in getattr(env, "__dict__", {}).values())


def _plain(env: Any) -> Tuple[str, str]:
    return f"a {type(env).__name__}", "return the environment itself"


def _factory(env: Any) -> Tuple[str, str]:
    return f"a {type(env).__name__}", "return an environment, not what makes one: add ()"


def _mapush(env: Any) -> Tuple[str, str]:
    return "a mapush VecEnv", "from mapush.env.harl_view import HarlView; return HarlView(env)"


def _aec(env: Any) -> Tuple[str, str]:
    return "a PettingZoo AEC environment", "env = pettingzoo.utils.aec_to_parallel(env), then: " + _parallel(env)[1]


def _parallel(env: Any) -> Tuple[str, str]:
    how = "stack the dicts over agents, np.stack([obs[a] for a in env.possible_agents]), and the envs over axis 0"
    return "a PettingZoo parallel environment", WRAPPER + how


def _dicts(env: Any) -> Tuple[str, str]:
    how = "stack what is in dicts over agents, and the envs over axis 0; make lists of the dicts of spaces"
    return "an environment with dicts of spaces", WRAPPER + how


def _vector(env: Any) -> Tuple[str, str]:
    how = "add an axis for the agent, obs[:, None]; dones = terminated | truncated; "
    how += "infos[env][0]['bad_transition'] = True where truncated; use AutoresetMode.SAME_STEP"
    return "a gymnasium vector environment", WRAPPER + how


def _sb3(env: Any) -> Tuple[str, str]:
    return "a stable-baselines3 VecEnv", WRAPPER + "add an axis for the agent, obs[:, None]"


def _torchrl(env: Any) -> Tuple[str, str]:
    return "a torchrl environment", WRAPPER + "read the tensordict's entries with .detach().cpu().numpy().copy()"


def _dm_env(env: Any) -> Tuple[str, str]:
    return "a dm_env environment", WRAPPER + "read the TimeStep's observation and reward; reset after timestep.last()"


def _torch(env: Any) -> Tuple[str, str]:
    return "an environment on torch tensors", WRAPPER + "copy with tensor.detach().cpu().numpy().copy()"


def _gymnasium(env: Any) -> Tuple[str, str]:
    how = "run num_envs of them side by side, np.stack their observations to [num_envs, 1, obs_dim], "
    return "a gymnasium environment with one agent", WRAPPER + how + "and reset the one that ended in the same step"
