"""Compiled: runs a whole network without the GIL."""
