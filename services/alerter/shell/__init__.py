"""What carries the core's decisions out: the database, the views, the archive, the channels, the requests."""
