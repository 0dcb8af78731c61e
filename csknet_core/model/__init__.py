"""The CSK-Net network and its parts."""
