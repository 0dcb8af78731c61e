"""The node as processes over DDS: latency, rates, memory, start; and a node to compare with."""
