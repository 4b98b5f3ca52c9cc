"""The grid's own tools for running agents, the same behind MCP and REST. A new tool is a function and a line in `registry`."""
