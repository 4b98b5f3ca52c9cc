"""Tools, hooks, mixins, toolsets and profiles: what an agent may use, and what happens around each use. Without Django."""
