"""mapush's own training stack under the harness: its contracts, training under guard, and the soak of a training."""
