"""Activation maximisation, piece by piece: targets, variables, steps, solutions."""
