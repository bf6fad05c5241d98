"""One file for each thing that is looked at; a new file is a new probe."""
