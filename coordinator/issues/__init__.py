"""What happens on the tracker's issues and what it means here: events, labels, slash commands, and the board shown there."""
