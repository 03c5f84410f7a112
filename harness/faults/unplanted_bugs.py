"""Bugs that only a GPU, a meter or a different simulator can show; the tests that have one plant them."""

from __future__ import annotations

from harness.faults.plant import listed

listed(
    "contact-pairs-x5",
    "two environments",
    "mission bug 1",
    needs="isaacgym",
    about="max_gpu_contact_pairs of a shared config is multiplied by 5 in place: by 25 in the second environment.",
    contracts="two-environments",
)
listed(
    "driver-level-leak",
    "memory",
    "public reports",
    needs="memory",
    about="Every reset keeps memory of the driver.",
    contracts="memory",
)
listed(
    "host-memory-leak",
    "memory",
    "mission bug 2",
    needs="memory",
    about="Every step keeps memory outside Python.",
    contracts="memory",
)
listed(
    "open-file-leak",
    "memory",
    "ours",
    needs="memory",
    about="Every environment that is made leaves a file open.",
    contracts="memory",
)
listed(
    "thread-leak",
    "memory",
    "ours",
    needs="memory",
    about="Closing an environment leaves its threads.",
    contracts="memory",
)
listed(
    "dropped-contacts",
    "gpu",
    "public reports",
    needs="gpu",
    about="A full contact buffer drops contacts in silence.",
    contracts="gpu",
)
listed(
    "stale-host-copy",
    "gpu",
    "HARL contract S30",
    needs="gpu",
    about="An asynchronous copy is read too early.",
    contracts="gpu",
)
listed(
    "captured-pointer",
    "gpu",
    "ours",
    needs="gpu",
    about="A CUDA graph replays on memory that was released.",
    contracts="gpu",
)
