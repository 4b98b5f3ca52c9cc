"""The event log as a typed record: what its kinds mean, how rows travel in it, how it is exported, checked and replayed."""
