"""How an environment is driven: HARL's vectorised interface as data, and a player that uses it."""
