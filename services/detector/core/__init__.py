"""Decides what is abnormal. Pure: the clock is an argument, nothing here knows sockets, files or processes."""
