"""CSK-Net: RGB-thermal semantic segmentation that survives a missing modality (no ROS here)."""
