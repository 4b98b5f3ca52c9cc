"""Reads for commands and pages, as frozen values."""
