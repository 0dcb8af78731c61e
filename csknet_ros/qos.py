"""QoS that both ends of a topic of the node use."""

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Of the class table: who comes late gets the last message."""

STATUS = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
"""Of the frames' statuses, none of which should be missed."""
