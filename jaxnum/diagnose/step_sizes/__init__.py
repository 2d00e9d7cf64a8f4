"""How long a step may be, what limits it, and what would be better."""
