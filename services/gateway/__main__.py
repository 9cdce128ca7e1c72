"""`python -m services.gateway --stdio` for a client session, without it the HTTP gateway that supervisord runs."""

import sys

if __name__ == "__main__":
    if "--stdio" in sys.argv[1:]:
        from services.gateway.start_stdio import start

        sys.exit(start())
    from services.gateway.http_main import start_http

    sys.exit(start_http())
