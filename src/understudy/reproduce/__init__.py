"""Published tables as recipes: what was published, what comes out here, and the difference."""
