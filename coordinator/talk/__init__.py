"""Messages and how they reach agents; who may say what to whom."""
