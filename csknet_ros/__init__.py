"""ROS 2 nodes and tools around `csknet_core`."""
