"""What the whole method gets out of few labelled pairs, against a plain two-branch network."""
