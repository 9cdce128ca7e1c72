"""Carries out what `core` decides: the state database, the anomaly files, the alerter, the queries."""
