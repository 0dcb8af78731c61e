"""A live page of what the cameras see and how each frame was answered: `view`."""
