"""Loops that feed their result back: why they blow up, what is missing, what smoothing does to them."""
