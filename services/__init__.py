"""The processes of the pipeline, one folder each; a service never imports another."""

import shared  # noqa: F401 - first, before structlog: see there
