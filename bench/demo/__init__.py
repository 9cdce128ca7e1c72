"""`make demo`: real public MCP servers, wrapped and called for a minute, with a fault in the middle."""
