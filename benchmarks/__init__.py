"""Measurements of speed and accuracy; each says how to run it."""
