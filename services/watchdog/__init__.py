"""The watchdog: restarts what runs but does not answer, and starts again what supervisord gave up on.

supervisord runs it as an event listener. If it dies nothing is lost: supervisord starts it again and it learns anew.
"""
