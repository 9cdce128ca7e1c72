"""The signal layer: a point a minute of each series and metric, scored in constant memory."""
