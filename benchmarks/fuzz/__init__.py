"""Random histories and broken messages in large numbers, judged by simple rules."""
