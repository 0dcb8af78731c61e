"""From camera arrays to label maps, without ROS."""
