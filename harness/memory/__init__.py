"""Does it leak, whose is it, and does all come back: meters, verdicts and soaks; see docs/memory.md."""
