"""Find memory leaks in any loop, name their owner, and check that everything is released; see docs/memory.md.

`harness.memory.soak` is the public interface. This package knows nothing of mapush but its errors.
"""
