"""Stand-ins for the services: they answer `ping` and `stats`, hold their locks and stop on SIGTERM, in 0.1 s and 15 MB each."""
