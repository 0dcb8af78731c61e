"""The recipe of the shipped weights on few labelled pairs, against a plain network."""
