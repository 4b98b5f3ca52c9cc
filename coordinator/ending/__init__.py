"""From the end of a run to what follows: outcomes, another attempt, a merge, a conflict's next step, writes to the tracker."""
