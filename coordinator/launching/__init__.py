"""From a nudge to a queued run: everything that is asked before, and the one function that launches."""
