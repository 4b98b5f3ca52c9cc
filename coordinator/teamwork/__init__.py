"""Between agents that run: threads, requests for more, locks, and conflicts as they are opened and decided."""
