"""Shipped weights (`*.safetensors`, each with a card) and how weights files are found and read."""
