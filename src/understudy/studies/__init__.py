"""Studies: arms that are compared over seeds, what runs them, and what came out."""
