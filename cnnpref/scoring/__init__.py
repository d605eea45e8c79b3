"""Scores of pictures of units: how much, how robustly and how naturally they excite them."""
