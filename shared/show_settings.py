"""`python -m shared.show_settings`: the settings that services of this data directory would start with, as JSON.

For whoever starts them and may not import this package. What is wrong is told on stderr, a line a setting; then it ends with 78.
"""

from __future__ import annotations

import sys

from perfmon.paths import resolve_data_directory
from shared.settings import SettingsError, load_settings

EXIT_CONFIGURATION = 78

if __name__ == "__main__":
    try:
        sys.stdout.write(load_settings(resolve_data_directory()).model_dump_json())
    except SettingsError as error:
        sys.stderr.write("\n".join(error.faults))
        raise SystemExit(EXIT_CONFIGURATION) from None
