"""Datasets, augmentation and rendered drives."""
