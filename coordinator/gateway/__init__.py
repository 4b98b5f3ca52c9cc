"""The model gateway: agents call models with the token of their run; real keys, tiers and budgets stay here."""
