"""The gateway: MCP tools over stdio and HTTP, Claude Code's hooks, a plain page. It holds no state but writes under way."""
