"""What an agent is: its place in the tree, its code, its words about itself, and whether people have approved its text."""
