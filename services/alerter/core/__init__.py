"""What is judged, raised, held back and told: pure decisions, with the clock as an argument.

`engine.Core.handle(event, now_ms)` is the only door through which state changes. Nothing here knows files, sockets or processes.
"""
