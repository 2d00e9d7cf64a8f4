"""Libraries of known mistakes, as data and small functions."""
