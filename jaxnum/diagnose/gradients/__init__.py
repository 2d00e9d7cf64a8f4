"""Somebody's gradient, or training step, held against the true one."""
