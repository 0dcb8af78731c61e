"""Nodes to run the segmentation node against without hardware."""
