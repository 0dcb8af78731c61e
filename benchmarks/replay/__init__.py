"""How fast bags are replayed: against the ROS graph, and against the bare engine."""
