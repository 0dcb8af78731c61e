"""The tables of docs/performance.md, from what the benchmarks wrote."""
