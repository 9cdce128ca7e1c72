"""`perfmon wrap -- <command>`: a byte-transparent stdio proxy around an MCP server that times every `tools/call`.

Two processes. The **forwarder** (`proxy`, `pump`, `tap`) starts the server, passes bytes both ways with blocking reads and
writes and nothing else imported, and hands time-stamped copies to the **observer** (`observe`, `resources`), which parses
them (`calls`, `lines`, `glimpse`: pure), measures the server's process tree (`usage`: pure) and sends metrics. So nothing that
parsing, measuring or sending does, not even a crash, can hold up or break the traffic; and what was seen, all but the last
millisecond, is still delivered when the forwarder is killed.
"""
