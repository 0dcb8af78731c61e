"""What the recipe of the shipped weights gets out of few labelled pairs, against a plain network."""
