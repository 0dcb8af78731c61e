"""A recipe close to that of the shipped weights on few labelled pairs, against a plain network."""
