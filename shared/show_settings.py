"""`python -m shared.show_settings`: the settings that services of this data directory would start with, as JSON: `values`, and
the names of those that somebody set, `given`.

For whoever starts them and may not import this package. What is wrong is told on stderr, a line a setting; then it ends with 78.
Variables that are no setting are told there too, and are no reason to end.
"""

from __future__ import annotations

import json
import os
import sys

from perfmon.paths import resolve_data_directory
from shared.settings import SettingsError, load_settings, unknown_variables

EXIT_CONFIGURATION = 78

if __name__ == "__main__":
    try:
        sys.stderr.write("".join(f"{line}\n" for line in unknown_variables(os.environ)))
        settings = load_settings(resolve_data_directory())
        given = sorted(settings.model_fields_set)
        sys.stdout.write(json.dumps({"values": settings.model_dump(mode="json"), "given": given}))
    except SettingsError as error:
        sys.stderr.write("\n".join(error.faults))
        raise SystemExit(EXIT_CONFIGURATION) from None
