"""Models: names, candidates, calls to providers, failover and what calls cost."""
