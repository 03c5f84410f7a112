"""Contracts of the configuration of a run that mixes objects and teams: its groups, its flags, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from mapush.config import (
    HappoConfig,
    MixedRunConfig,
    MixedTaskConfig,
    PushRunConfig,
    SimConfig,
    TaskConfig,
    groups_of,
    run_config_from_dict,
    seats_of,
    team_size,
    to_dict,
    with_one_object,
)
from mapush.errors import ConfigError
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.presets import CYLINDER_REWARDS, PRESETS, SHAPED_REWARDS, preset
from mapush.train import parse

pytestmark = pytest.mark.contracts

SHARED = HappoConfig(share_param=True)


def mixed(num_envs=18, **changes):
    return MixedRunConfig(task_name="any", num_envs=num_envs, happo=SHARED, **changes)


def test_groups_are_all_pairs_of_object_and_team_size():
    """They share the envs evenly, and each has a seed and the rewards of its object."""
    config = dataclasses.replace(preset("any", "default"), num_envs=42, seed=5)
    groups = groups_of(config)
    kinds = [(group.task_name, group.task.object, team_size(group.task)) for group in groups]
    names = ("cuboid", "tblock", "cylinder")
    assert kinds == [(name, name, size) for name in names for size in (2, 4)]
    assert [group.num_envs for group in groups] == [7] * 6
    assert len({group.seed for group in groups}) == 6
    assert [group.task.reward for group in groups] == [SHAPED_REWARDS] * 4 + [CYLINDER_REWARDS] * 2
    for group in groups:
        assert (group.task.view, group.task.seats, group.task.steps_per_decision) == ("any_team", 4, 10)
        assert group.sim == config.sim


def test_seeds_of_groups_depend_on_the_seed_of_the_run():
    """Two runs share no starts."""
    seeds = set()
    for seed in (1, 2, 3):
        seeds |= {group.seed for group in groups_of(mixed(seed=seed))}
    assert len(seeds) == 18


@pytest.mark.parametrize("name", sorted(PRESETS["any"]))
def test_presets_share_their_envs_evenly(name):
    """Each preset builds, survives its own dict, and has groups of one size."""
    config = preset("any", name)
    assert len(groups_of(config)) == 6
    assert run_config_from_dict(to_dict(config)) == config


@pytest.mark.parametrize("name", sorted(PRESETS["any"]))
def test_presets_update_less_than_those_of_one_object(name):
    """With more epochs, each of four turns moves the one network too far: docs/policies.md has the figures."""
    happo = preset("any", name).happo
    assert (happo.ppo_epoch, happo.critic_epoch, happo.entropy_coef) == (4, 5, 0.01)
    of_one = preset("cuboid", name).happo
    assert dataclasses.replace(happo, ppo_epoch=10, critic_epoch=10, entropy_coef=0.003) == of_one


@pytest.mark.parametrize("num_envs, fix", [(20, "--num-envs 18 or 24"), (5, "--num-envs 6")])
def test_envs_that_cannot_be_shared_are_refused_with_the_nearest_that_can(num_envs, fix):
    """Groups of different sizes would weigh objects differently."""
    with pytest.raises(ConfigError, match="different sizes") as caught:
        groups_of(mixed(num_envs))
    assert caught.value.fix == fix


@pytest.mark.parametrize(
    "changes",
    [
        {"team_sizes": (2, 5)},
        {"team_sizes": (0, 2)},
        {"team_sizes": ()},
        {"team_sizes": (2, 2)},
        {"objects": ()},
        {"objects": ("cuboid", "cuboid")},
        {"seats": 1},
        {"steps_per_decision": 0},
    ],
)
def test_mix_without_a_meaning_is_refused(changes):
    """Every object and size occurs once, and each team finds a seat."""
    with pytest.raises(ConfigError, match="task"):
        MixedTaskConfig(**changes)


def test_misspelt_object_is_refused_with_a_suggestion():
    """An unknown name goes no further."""
    with pytest.raises(ConfigError, match="did you mean 'cylinder'"):
        MixedTaskConfig(objects=("cuboid", "cylindre"))


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"learner": "harl"}, "native learner"),
        ({"sim": SimConfig("isaacgym")}, "own environment"),
        ({"sim": SimConfig("standin")}, "own environment"),
    ],
)
def test_foreign_learner_and_environment_are_refused_by_name(changes, match):
    """They know neither empty seats nor sets of team mates."""
    with pytest.raises(ConfigError, match=match):
        mixed(**changes)
    with pytest.raises(ConfigError, match=match):
        PushRunConfig(task=TaskConfig(view="any_team"), **changes)
    PushRunConfig(**changes)


def test_one_policy_for_each_robot_is_refused():
    """A policy for any team has one actor."""
    with pytest.raises(ConfigError, match="one policy for all robots"):
        MixedRunConfig(task_name="any")


def test_seats_are_those_of_policies_for_any_team():
    """Runs for one team have none."""
    assert seats_of(mixed(task=MixedTaskConfig(seats=6))) == 6
    assert seats_of(PushRunConfig(task=TaskConfig(view="any_team", seats=5))) == 5
    assert seats_of(PushRunConfig()) is None
    assert seats_of(preset("walk", "default")) is None


def test_policy_for_any_team_can_push_one_object():
    """The configuration for one object keeps what the policy was trained with."""
    config = dataclasses.replace(preset("any", "gpu"), seed=9)
    one = with_one_object(config, "tblock", 3)
    assert (one.task_name, one.task.object, team_size(one.task), one.seed) == ("tblock", "tblock", 3, 9)
    assert one.happo == config.happo
    assert team_size(with_one_object(config, "cylinder").task) == 3


def test_num_agents_is_a_flag_of_train():
    """The short name and the dotted one mean the same; a mixed run has several sizes instead."""
    for flag in ("--num-agents", "--task.num-agents"):
        config, _, _ = parse(["cuboid", flag, "3"])
        assert team_size(config.task) == 3
        with pytest.raises(ConfigError, match="several sizes") as caught:
            parse(["any", flag, "3"])
        assert "--task.team-sizes" in caught.value.fix
    config, _, _ = parse(["any", "--task.team-sizes", "2", "3", "4", "--num-envs", "27"])
    assert config.task.team_sizes == (2, 3, 4)


def test_num_agents_is_a_flag_of_evaluate():
    """It belongs to tasks that push one object."""
    assert EvaluateConfig("cuboid", num_agents=3).num_agents == 3
    for wrong, match in ((("any", 3), "one object"), (("walk", 3), "pushing tasks"), (("cuboid", 0), "no robots")):
        with pytest.raises(ConfigError, match=match):
            EvaluateConfig(wrong[0], num_agents=wrong[1])


@pytest.mark.parametrize("changes", [{"mode": "viewer"}, {"steps_per_decision": 5}, {"upstream_quirks": True}])
def test_flags_of_one_object_are_refused_for_the_mix(changes):
    """The viewer shows one object; the message says how to name it."""
    with pytest.raises(ConfigError, match="one object") as caught:
        EvaluateConfig("any", **changes)
    assert "cuboid --num-agents" in caught.value.fix
