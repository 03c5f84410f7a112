"""Watch the policy that a command line names: load it, make its environment, and show its episodes."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from mapush.assembly import make_mqe_env, make_push_env
from mapush.config import PushRunConfig, RunConfig
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.kept_files import free_name
from mapush.evaluation.loaded_policy import checkpoint_paths, load_in_env
from mapush.evaluation.results import decision_rate
from mapush.run.shown_progress import ShownProgress
from mapush.sim import OF_MQE
from mapush.viewer import RECORDED_EPISODES, show

if TYPE_CHECKING:
    from mapush.env.push import PushEnv
    from mapush.env.vec_env import VecEnv


def watch_policy(config: EvaluateConfig) -> None:
    """Show episodes of the policy that `config` names, of a run the newest, until Ctrl-C at the latest.

    Raises:
      CheckpointError: a checkpoint is missing or does not fit.
      ConfigError: the viewer or recorder does not work here.
    """
    path: Optional[Path] = None
    if not config.untrained:
        path = checkpoint_paths(config)[-1]
    with contextlib.suppress(KeyboardInterrupt):
        if config.sim.backend in OF_MQE:
            _view_upstream(config, path)
        else:
            _view(config, path)


def _view(config: EvaluateConfig, path: Optional[Path]) -> None:
    from mapush.viewer.selection import choose

    with ShownProgress() as progress:
        progress.stage("choosing where to show the episodes")
        choice = choose(config)
    if config.record is None and choice.record is not None:
        choice = dataclasses.replace(choice, record=free_name(choice.record))
    print(f"viewer {choice.viewer} ({choice.reason})", flush=True)
    with ShownProgress() as progress:
        progress.stage("loading policy and simulator")
        team = load_in_env(config, path, config.envs)
    print(decision_rate(team.env.steps_per_decision, team.policy.rate_from), flush=True)
    with contextlib.closing(team.env):
        from mapush.env.push import PushEnv

        run_config = team.policy.config
        assert isinstance(team.env, PushEnv), "the viewer shows pushing tasks"
        assert isinstance(run_config, PushRunConfig), "the viewer shows pushing tasks"

        def make(seed: int) -> PushEnv:
            return make_push_env(dataclasses.replace(run_config, num_envs=config.envs, seed=seed))

        recording = choice.viewer == "none"
        with ShownProgress(lines=recording) as progress:  # who watches needs no lines in a log
            progress.stage("preparing the episodes")
            show(choice, config, team.env, team.policy.agent, make, progress)


def _view_upstream(config: EvaluateConfig, path: Optional[Path]) -> None:
    from mapush.viewer.isaac_window import play

    def make(run_config: RunConfig) -> VecEnv:
        assert isinstance(run_config, PushRunConfig), "MQE has only pushing tasks"
        film = config.record is not None
        return make_mqe_env(run_config, window=not film, camera=film)

    with ShownProgress() as progress:
        progress.stage("loading policy and simulator")
        team = load_in_env(config, path, num_envs=1, make=make)
    print(decision_rate(team.env.steps_per_decision, team.policy.rate_from), flush=True)
    with contextlib.closing(team.env):
        from mapush.upstream.mqe import MqeEnv

        assert isinstance(team.env, MqeEnv), "make returns one"
        with ShownProgress() as progress:
            play(team.env, team.policy.agent, config.episodes or RECORDED_EPISODES, config.record, progress)
