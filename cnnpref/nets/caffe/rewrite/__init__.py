"""Graphs rewritten so that the same values take less work."""
