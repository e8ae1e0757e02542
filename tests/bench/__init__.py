"""The benchmark: what the system costs beside a floor that does the same work and keeps nothing.

Run it with ``scripts/bench``; ``docs/benchmark.md`` says how to read it.
"""
