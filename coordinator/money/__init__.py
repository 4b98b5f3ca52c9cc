"""Budgets that nest, their ledger, and what was spent: every reservation and settlement goes through here."""
