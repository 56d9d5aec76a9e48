"""Measurements against the hardware's limits: ceilings, useful work, timings, peers and their report."""
