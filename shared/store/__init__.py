"""Files of the data directory: written whole (`atomic`), appended to (`appends`), and the metrics read back (`raw`)."""
