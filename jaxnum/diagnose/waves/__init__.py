"""A hand-made Schrödinger step, and the arrays of a finished run."""
