"""Texts that people and agents write or read, parsed and rendered: policy files, plans, prompts, pull requests, commands. Pure."""
