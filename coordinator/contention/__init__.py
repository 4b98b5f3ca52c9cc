"""Who stands in whose way: the rows of conflicts, neighbours whose files overlap, and the words for both."""
