"""How properties are tested."""

from hypothesis import settings

# A shared machine is slow at random, and a failure must come back on the next run.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("steady")
