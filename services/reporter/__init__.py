"""The reporter: reports, the dashboard's data, health scores, trends and recommendations.

Holds no stream and no state but a note of its last report: it asks the other services and composes. If it dies, a report that
was being made is lost and nothing else.
"""
