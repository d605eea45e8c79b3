"""Optimisers: batched, and without knowledge of nets."""
