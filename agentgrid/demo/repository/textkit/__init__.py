"""Tools for looking at English text."""
