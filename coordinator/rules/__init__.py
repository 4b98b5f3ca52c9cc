"""Decisions from values alone: who may start, what a budget allows, who gives way, what a plan changes. Pure."""
