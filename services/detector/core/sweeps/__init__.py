"""Looks at a series' last hours for what no single call shows: shifts, leaks, silence, throughput. Pure; remembers nothing."""
