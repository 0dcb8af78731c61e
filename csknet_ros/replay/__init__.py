"""Reading, playing and evaluating bags."""
