"""Two exact forms of one pass for two cameras: folded, and stacked through shared convolutions."""
