"""Settings of HAPPO, each default in one place."""

from __future__ import annotations

import dataclasses
from typing import Tuple

from typing_extensions import Literal

from mapush.config.setting_checks import require, require_choice

Activation = Literal["relu", "tanh", "sigmoid", "leaky_relu", "selu"]
Initialization = Literal["orthogonal_", "xavier_uniform_"]
Aggregation = Literal["prod", "mean"]


@dataclasses.dataclass(frozen=True)
class HappoConfig:
    """HAPPO and its networks, under the names of HARL's `happo.yaml`."""

    hidden_sizes: Tuple[int, ...] = (128, 128)
    """Units of each hidden layer of actors and critic."""
    activation_func: Activation = "relu"
    """Activation of the hidden layers."""
    use_feature_normalization: bool = True
    """Apply a LayerNorm to the observation."""
    initialization_method: Initialization = "orthogonal_"
    """How weights are initialised."""
    gain: float = 0.01
    """Initial gain of the actor's output layer."""
    std_x_coef: float = 1.0
    """Exploration: std = sigmoid(log_std / std_x_coef) * std_y_coef."""
    std_y_coef: float = 0.5
    """Largest standard deviation of an action."""
    share_param: bool = False
    """One actor for all agents, still updated once for each."""

    lr: float = 5e-4
    """Learning rate of the actors (Adam)."""
    critic_lr: float = 5e-4
    """Learning rate of the critic (Adam)."""
    opti_eps: float = 1e-5
    """Adam's epsilon."""
    weight_decay: float = 0.0
    """L2 penalty in Adam."""
    use_linear_lr_decay: bool = False
    """Lower both learning rates to 0 over the run."""

    ppo_epoch: int = 5
    """Passes over the rollout for each actor."""
    critic_epoch: int = 5
    """Passes over the rollout for the critic."""
    actor_num_mini_batch: int = 1
    """Minibatches in each pass of an actor."""
    critic_num_mini_batch: int = 1
    """Minibatches in each pass of the critic."""
    clip_param: float = 0.2
    """Clip range of ratio and value."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    value_loss_coef: float = 1.0
    """Weight of the value loss."""
    use_clipped_value_loss: bool = True
    """Clip the change of the value prediction."""
    use_huber_loss: bool = True
    """Huber instead of squared value error."""
    huber_delta: float = 10.0
    """Where the Huber loss becomes linear."""
    use_max_grad_norm: bool = True
    """Clip the gradient norm."""
    max_grad_norm: float = 10.0
    """Largest gradient norm."""
    use_policy_active_masks: bool = True
    """Leave inactive agents out of the policy loss."""
    action_aggregation: Aggregation = "prod"
    """How the ratios of the action dimensions are combined."""
    fixed_order: bool = False
    """Update agents in the order 0, 1, ... instead of a random one."""

    use_gae: bool = True
    """Generalised advantage estimation; otherwise discounted returns."""
    gamma: float = 0.99
    """Discount per decision."""
    gae_lambda: float = 0.95
    """GAE's lambda."""
    use_proper_time_limits: bool = True
    """Do not treat a time limit as a failure."""
    use_valuenorm: bool = True
    """Normalise value targets by running statistics."""

    def __post_init__(self) -> None:
        for name in ("ppo_epoch", "critic_epoch", "actor_num_mini_batch", "critic_num_mini_batch"):
            require(getattr(self, name) >= 1, f"happo.{name}", getattr(self, name), "at least 1")
        require(len(self.hidden_sizes) >= 1, "happo.hidden_sizes", self.hidden_sizes, "at least one layer")
        require(min(self.hidden_sizes) >= 1, "happo.hidden_sizes", self.hidden_sizes, "positive sizes")
        for name in ("lr", "critic_lr", "opti_eps", "std_x_coef", "std_y_coef", "clip_param", "max_grad_norm"):
            require(getattr(self, name) > 0.0, f"happo.{name}", getattr(self, name), "more than 0")
        for name in ("gamma", "gae_lambda"):
            require(0.0 <= getattr(self, name) <= 1.0, f"happo.{name}", getattr(self, name), "in [0, 1]")
        require_choice("happo.activation_func", self.activation_func, Activation)
        require_choice("happo.initialization_method", self.initialization_method, Initialization)
        require_choice("happo.action_aggregation", self.action_aggregation, Aggregation)
