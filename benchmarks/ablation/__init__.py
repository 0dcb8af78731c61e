"""Every component of the method, added in turn."""
