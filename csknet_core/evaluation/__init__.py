"""Metrics over label maps."""
