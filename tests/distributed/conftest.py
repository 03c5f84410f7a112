"""Ranks over gloo, in processes that all tests of this folder share."""

from __future__ import annotations

import pytest

from harness.stack.rank_processes import RankProcesses


class Jobs:
    """Starts the processes of a job when a test first asks for that number of ranks."""

    def __init__(self):
        self._started = {}

    def of(self, size):
        """Return a job of `size` ranks; a new one after a test has ended the last."""
        job = self._started.get(size)
        if job is None or job.closed:
            job = self._started[size] = RankProcesses(size)
        return job

    def close(self):
        """End all processes."""
        for job in self._started.values():
            job.close()


@pytest.fixture(scope="session")
def jobs():
    """Jobs of any number of ranks, each started once."""
    jobs = Jobs()
    yield jobs
    jobs.close()
