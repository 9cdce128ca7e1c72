"""The eight tools: each says what it takes and gives, and runs against the services behind the gateway."""

from services.gateway.tools.alerts import ACKNOWLEDGE_ALERT, GET_ACTIVE_ALERTS, SET_ALERT_THRESHOLD
from services.gateway.tools.detect_anomalies import SPEC as DETECT_ANOMALIES
from services.gateway.tools.generate_report import SPEC as GENERATE_REPORT
from services.gateway.tools.get_dashboard import SPEC as GET_DASHBOARD
from services.gateway.tools.get_metrics import SPEC as GET_METRICS
from services.gateway.tools.spec import Backends, Stored, ToolContext, ToolSpec
from services.gateway.tools.track_performance import SPEC as TRACK_PERFORMANCE

#: In the order in which clients list them.
TOOLS = (
    GET_DASHBOARD,
    GET_METRICS,
    DETECT_ANOMALIES,
    GET_ACTIVE_ALERTS,
    ACKNOWLEDGE_ALERT,
    SET_ALERT_THRESHOLD,
    GENERATE_REPORT,
    TRACK_PERFORMANCE,
)

__all__ = ["TOOLS", "Backends", "Stored", "ToolContext", "ToolSpec"]
