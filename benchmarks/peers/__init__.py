"""The same distillation by other tool kits, as the registry has them, each with its own loop and environment."""
