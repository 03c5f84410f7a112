"""The registry of environments and the function that makes them."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Tuple

from mqe.envs.configs.go1_push_mid_config import Go1PushMidCfg
from mqe.envs.npc.go1_object import Go1Object
from mqe.envs.wrappers.go1_push_mid_wrapper import Go1PushMidWrapper
from mqe.utils import make_env

ENV_DICT: Dict[str, Dict[str, Any]] = {
    "go1push_mid": {"class": Go1Object, "config": Go1PushMidCfg, "wrapper": Go1PushMidWrapper},
}


def make_mqe_env(env_name: str, args: Any = None, custom_cfg: Optional[Callable[[Any], Any]] = None) -> Tuple[Any, Any]:
    """Make the environment called `env_name`; its entry in `ENV_DICT` keeps what `custom_cfg` returned."""
    entry = ENV_DICT[env_name]
    if callable(custom_cfg):
        entry["config"] = custom_cfg(entry["config"])
    env, cfg = make_env(entry["class"], entry["config"], args)
    return entry["wrapper"](env), cfg


def custom_cfg(args: Any) -> Callable[[Any], Any]:
    """Return a function that writes the arguments into a configuration, in place."""

    def fn(cfg: Any) -> Any:
        if getattr(args, "num_envs", None) is not None:
            cfg.env.num_envs = args.num_envs
        cfg.env.record_video = args.record_video
        return cfg

    return fn
