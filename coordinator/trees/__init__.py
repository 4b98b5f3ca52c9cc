"""How a tree grows, changes and ends: sub-issues, plans carried out, cancelled parts."""
