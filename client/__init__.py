"""The Compute API in Python."""
