"""Runs code that was written for Isaac Gym where Isaac Gym cannot be had: its Python API, over MuJoCo.

    python -m isaac_standin -- python train.py --task=cartpole

The program is unchanged: `import isaacgym` finds `isaac_standin.api`. Physics is MuJoCo's on the CPU and MuJoCo Warp's
on a GPU, so results differ from PhysX; docs/standin.md says how. Not affiliated with NVIDIA.
"""
