"""Scripts that measure, run from the repository's root as `python -m benchmarks.NAME`; none of them is installed."""
