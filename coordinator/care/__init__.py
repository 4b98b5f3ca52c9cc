"""Repositories under care and what is in force there: policies, profiles, tools, prompts, limits of a day."""
