"""The bugs of the mission's notes, and others of their kind, put back into the rebuilt integration one at a time."""

from __future__ import annotations

from typing import List, NamedTuple, Tuple

from integration import (
    CONFIGS_TOOLS,
    ENV,
    ENVS,
    ENVS_TOOLS,
    LOGGER,
    ONE_NONE_EACH,
    OVERLAY,
    PATCHED,
    REGISTERED,
    TABLES,
    THEIR_RUNNER,
    Change,
)

HAPPO, CRITIC = "harl/algorithms/actors/happo.py", "harl/algorithms/critics/v_critic.py"
REAL = ("--real",)
NO_YAML = ("--config", "no-such-file.yaml")

SET_ENVS = '        if hasattr(self.logger, "set_envs"):\n            self.logger.set_envs(self.envs)\n'
NO_ATTRIBUTE = (LOGGER, "        self.envs = None\n", "")
NOT_SET: Change = (THEIR_RUNNER, SET_ENVS, "")
LATE: Change = (
    THEIR_RUNNER,
    SET_ENVS,
    "\n    def run(self):\n        super().run()\n        self.logger.set_envs(self.envs)\n",
)
INFOS = "        infos_list = [{0: {}} for _ in range(self.n_envs)]\n"
FLAG = '            if info.timed_out[env_idx]:\n                infos_list[env_idx][0]["bad_transition"] = True\n'
AFTER_STATISTICS = "                self.episode_lengths.append(int(info.length[env_idx]))\n"
IMPORT_REGISTER: Change = REGISTERED[0]


class Bug(NamedTuple):
    """A bug, put back.

    Attributes:
      name: the number in the notes, and which variant.
      harl: what the user edited before.
      changes: what brings the bug back.
      check: the check that finds it.
      says: words of the first line.
      where: the file that is named.
      words: of the command line.
    """

    name: str
    harl: Tuple[Change, ...]
    changes: Tuple[Change, ...]
    check: str
    says: str
    where: str
    words: Tuple[str, ...] = ()


def without(*lost: Change) -> Tuple[Change, ...]:
    """Return the edits of HARL without some of them."""
    return tuple(change for change in PATCHED if change not in lost)


def insert(body: str) -> Tuple[Change, ...]:
    """Return the change that gives the runner an `insert` of its own; `body` changes the list `data`."""
    method = f"{SET_ENVS}\n    def insert(self, data):\n        data = list(data)\n        {body}\n"
    return ((THEIR_RUNNER, SET_ENVS, method + "        super().insert(tuple(data))\n"),)


def method(text: str) -> Tuple[Change, ...]:
    """Return the change that gives the runner a method."""
    return ((THEIR_RUNNER, SET_ENVS, f"{SET_ENVS}\n    def {text}\n"),)


def logs(text: str) -> Tuple[Change, ...]:
    """Return the change that gives the logger a method."""
    marker = "    def get_task_name(self):\n"
    return ((LOGGER, marker, f"    def {text}\n\n{marker}"),)


OF_THE_ENVIRONMENT: List[Bug] = [
    Bug(
        "3 no custom_cfg",
        PATCHED,
        ((ENV, ", custom_cfg=custom_cfg(args))", ")"),),
        "env-size",
        "has 20 envs where n_rollout_threads asks for 5",
        ENV,
        REAL,
    ),
    Bug(
        "3 another key",
        PATCHED,
        ((ENV, 'env_args.get("num_envs", env_args.get("n_threads", 500))', 'env_args.get("num_envs", 11)'),),
        "env-size",
        "has 11 envs where n_rollout_threads asks for 5",
        ENV,
        REAL,
    ),
    Bug(
        "4 transposed",
        PATCHED,
        ((ENV, "np.ascontiguousarray(actions)", "np.ascontiguousarray(actions.transpose(1, 0, 2))"),),
        "env-forms",
        "actions are transposed",
        ENV,
        REAL,
    ),
    Bug(
        "5 empty dicts",
        PATCHED,
        ((ENV, INFOS, "        infos_list = [{} for _ in range(self.n_envs)]\n"), (ENV, FLAG, "")),
        "env-forms",
        "infos have no dict under agent 0",
        ENV,
        REAL,
    ),
    Bug(
        "5 empty dicts where an episode ends",
        PATCHED,
        ((ENV, AFTER_STATISTICS, AFTER_STATISTICS + "                infos_list[env_idx] = {}\n"),),
        "env-forms",
        "infos have no dict under agent 0",
        ENV,
        REAL,
    ),
    Bug(
        "5 keys of gymnasium",
        TABLES,
        (*ONE_NONE_EACH, (ENV, INFOS, '        infos_list = [{"success": 0.0} for _ in range(5)]\n'), (ENV, FLAG, "")),
        "env-forms",
        "infos have no dict under agent 0",
        ENV,
        REAL,
    ),
    Bug(
        "6 None, on HARL as it is",
        TABLES,
        (),
        "env-forms",
        "available_actions is None, which this HARL does not accept",
        ENV,
        REAL,
    ),
    Bug(
        "6 None from step 1 on, on HARL as it is",
        (IMPORT_REGISTER,),
        (ONE_NONE_EACH[0],),
        "env-forms",
        "available_actions is None, which this HARL does not accept",
        ENV,
        REAL,
    ),
    Bug(
        "6 an array of None",
        PATCHED,
        ((ENV, "available_actions = None", "available_actions = np.array([[None] * self.n_agents] * self.n_envs)"),),
        "env-forms",
        "available_actions is an array (num_envs, num_agents) of None, which this HARL does not accept",
        ENV,
        REAL,
    ),
    Bug(
        "6 nested lists of None",
        PATCHED,
        ((ENV, "available_actions = None", "available_actions = [[None] * self.n_agents] * self.n_envs"),),
        "env-forms",
        "available_actions is nested lists of None, which this HARL does not accept",
        ENV,
        REAL,
    ),
]

OF_THE_LOGGER: List[Bug] = [
    Bug(
        "7 no attribute",
        PATCHED,
        (NO_ATTRIBUTE, NOT_SET),
        "logger-environment",
        "MAPushLogger never gets its environment: nobody sets envs",
        LOGGER,
    ),
    Bug(
        "7 no attribute, set too late",
        PATCHED,
        (NO_ATTRIBUTE, LATE),
        "logger-environment",
        "MAPushLogger gets its environment too late",
        THEIR_RUNNER,
    ),
    Bug(
        "7 set too late, silently",
        PATCHED,
        (LATE,),
        "logger-environment",
        "MAPushLogger gets its environment too late",
        THEIR_RUNNER,
    ),
    Bug(
        "7 never set, silently",
        PATCHED,
        (NOT_SET,),
        "logger-environment",
        "MAPushLogger never gets its environment: nobody sets envs",
        LOGGER,
    ),
    Bug(
        "7 never set, without hasattr",
        REGISTERED,
        (NOT_SET, (LOGGER, 'if hasattr(self.envs, "get_statistics"):', "if True:")),
        "logger-environment",
        "MAPushLogger never gets its environment: nobody sets envs",
        LOGGER,
        ("--config", str(OVERLAY / "harl/configs/envs_cfgs/mapush.yaml")),
    ),
    Bug(
        "7 statistics never reset",
        PATCHED,
        ((LOGGER, "            self.envs.reset_statistics()\n", ""),),
        "logger-statistics",
        "statistics are never reset: reset_statistics is not called",
        LOGGER,
    ),
    Bug(
        "7 statistics reset before they are read",
        PATCHED,
        (
            (LOGGER, "            self.envs.reset_statistics()\n", ""),
            (LOGGER, "            stats =", "            self.envs.reset_statistics()\n            stats ="),
        ),
        "logger-statistics",
        "statistics are reset before they are read",
        LOGGER,
    ),
    Bug(
        "7 a number of another statistic",
        PATCHED,
        ((LOGGER, '"mapush/success_rate": stats["success_rate"]', '"mapush/success_rate": stats["mean_length"]'),),
        "logger-statistics",
        "the logged mapush/success_rate/mapush/success_rate is not what the environment says",
        LOGGER,
    ),
    Bug(
        "2 returns kept in a list",
        PATCHED,
        logs(
            "per_step(self, data):\n        super().per_step(data)\n        self.kept = getattr(self, 'kept', [])\n"
            "        self.kept.extend(data[2][:, 0, 0][data[3][:, 0]])"
        ),
        "logger-bounded",
        "the logger's kept grows without bound",
        LOGGER,
    ),
    Bug(
        "returns counted twice",
        PATCHED,
        logs("per_step(self, data):\n        super().per_step(data)\n        self.train_episode_rewards *= 1.5"),
        "logger-returns",
        "the logged mean return is not that of the episodes that ended",
        LOGGER,
    ),
]

OF_THE_TABLES: List[Bug] = [
    Bug(
        "8 get_task_name",
        without(TABLES[4]),
        (),
        "table-task-name",
        "get_task_name does not know the environment 'mapush': it raises UnboundLocalError",
        CONFIGS_TOOLS,
    ),
    Bug(
        "8 get_num_agents",
        without(TABLES[3]),
        (),
        "table-num-agents",
        "get_num_agents does not know the environment 'mapush': it returns None",
        ENVS_TOOLS,
    ),
    Bug(
        "8 LOGGER_REGISTRY",
        without(TABLES[1]),
        (),
        "table-logger",
        "LOGGER_REGISTRY has no logger for the environment 'mapush'",
        ENVS,
    ),
    Bug(
        "8 make_train_env",
        without(TABLES[2]),
        (),
        "table-train-env",
        "make_train_env does not know the environment 'mapush'",
        ENVS_TOOLS,
    ),
    Bug(
        "8 make_eval_env",
        PATCHED,
        (),
        "table-eval-env",
        "make_eval_env does not know the environment 'mapush'",
        ENVS_TOOLS,
        ("--set", "use_eval=True"),
    ),
    Bug(
        "8 one name for all tasks",
        PATCHED,
        ((CONFIGS_TOOLS, 'task = env_args.get("task", "go1push_mid")', 'task = "go1push_mid"'),),
        "task-names-differ",
        "all tasks have one name: get_task_name returns 'go1push_mid' whatever task is",
        CONFIGS_TOOLS,
    ),
    Bug(
        "8 one name in the logger",
        PATCHED,
        ((LOGGER, 'return self.env_args["task"]', 'return "push"'),),
        "task-names-differ",
        "all tasks have one name: get_task_name returns 'push' whatever task is",
        LOGGER,
    ),
]

OF_THE_RUNNER: List[Bug] = [
    Bug(
        "4 stored actions of the other agent",
        PATCHED,
        insert("data[7] = data[7][:, ::-1]"),
        "stored-actions",
        "the stored action is not the one that the environment was given",
        THEIR_RUNNER,
    ),
    Bug(
        "stored log-probs of nothing",
        PATCHED,
        insert("data[8] = data[8] * 0.5"),
        "log-probs",
        "the stored log-probabilities are not those of the stored actions",
        THEIR_RUNNER,
    ),
    Bug(
        "ends are lost",
        PATCHED,
        insert("data[3] = data[3] & False"),
        "masks",
        "an end is not stored",
        THEIR_RUNNER,
    ),
    Bug(
        "time limits are failures",
        PATCHED,
        insert("data[4] = [{0: {}} for _ in data[4]]"),
        "masks",
        "bad_masks: a time limit is stored as a failure",
        THEIR_RUNNER,
    ),
    Bug(
        "states of another env",
        PATCHED,
        insert("data[1] = data[1][::-1]"),
        "critic-input",
        "share_obs of the critic is not the share_obs of the environment",
        THEIR_RUNNER,
    ),
    Bug(
        "observations of the other agent",
        PATCHED,
        insert("data[0] = data[0][:, ::-1]"),
        "actor-input",
        "obs of actor 0 is not the obs of the environment",
        THEIR_RUNNER,
    ),
    Bug(
        "another discount",
        PATCHED,
        method("compute(self):\n        self.critic_buffer.gamma = 0.5\n        super().compute()"),
        "advantages",
        "returns are not those of GAE",
        THEIR_RUNNER,
    ),
    Bug(
        "the end of a rollout is not moved",
        PATCHED,
        method("after_update(self):\n        pass"),
        "actor-input",
        "obs of actor 0 is not the obs of the environment",
        THEIR_RUNNER,
    ),
    Bug(
        "a policy loss that is a sum",
        PATCHED,
        (
            (
                HAPPO,
                "policy_loss = policy_action_loss\n",
                "policy_loss = policy_action_loss * active_masks_batch.sum()\n",
            ),
        ),
        "batch-independent",
        "policy_loss depends on the batch size",
        HAPPO,
    ),
    Bug(
        "a value loss that is a sum",
        PATCHED,
        ((CRITIC, "value_loss = value_loss.mean()", "value_loss = value_loss.sum()"),),
        "batch-independent",
        "value_loss depends on the batch size",
        CRITIC,
    ),
    Bug(
        "a checkpoint without the normaliser",
        PATCHED,
        method(
            "restore(self):\n        normalizer, self.value_normalizer = self.value_normalizer, None\n"
            "        super().restore()\n        self.value_normalizer = normalizer"
        ),
        "checkpoint",
        "the checkpoint does not restore the value normaliser",
        THEIR_RUNNER,
    ),
    Bug(
        "an evaluation on the training environment",
        PATCHED,
        ((THEIR_RUNNER, SET_ENVS, f"{SET_ENVS}        self.eval_envs = self.envs\n"),),
        "own-evaluation",
        "the evaluation runs on the training environment",
        THEIR_RUNNER,
    ),
    Bug(
        "trains for ever",
        PATCHED,
        method("run(self):\n        while True:\n            super().run()"),
        "runs",
        "the runner trains for ever",
        THEIR_RUNNER,
    ),
    Bug(
        "hangs",
        PATCHED,
        method("compute(self):\n        import time\n\n        time.sleep(3600.0)"),
        "runs",
        "the runner does not end: it was stopped while training",
        THEIR_RUNNER,
        ("--timeout", "45"),
    ),
    Bug(
        "another signature",
        PATCHED,
        (
            (
                THEIR_RUNNER,
                "def __init__(self, args, algo_args, env_args):\n        super().__init__(args, algo_args, env_args)",
                "def __init__(self, config):\n        super().__init__(*config)",
            ),
        ),
        "runs",
        "the runner cannot be called as HARL calls runners",
        THEIR_RUNNER,
    ),
]

BUGS = OF_THE_ENVIRONMENT + OF_THE_LOGGER + OF_THE_TABLES + OF_THE_RUNNER
