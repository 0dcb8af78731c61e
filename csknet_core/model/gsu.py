"""Gated spectral unit: joins the features of the optical and the thermal decoder.

Stated in CSK-Net (arXiv 2312.02240, figure d): for x_1 = F_o, x_2 = F_i, x_3 = F_o + F_i,
`h = sum_k sigmoid(Z_k x_k) * tanh(W_k x_k)`. Chosen here: Z_k and W_k are 1x1 convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GatedSpectralUnit(nn.Module):
    """Sum of three gated sources: optical, thermal and their sum.

    Args:
        channels: C of the features.
        joint_gates: let every gate see the concatenation of all three sources, as in the gated
            multimodal unit (Arevalo et al. 2017), instead of its own source only.
    """

    def __init__(self, channels: int, joint_gates: bool = False) -> None:
        super().__init__()
        self.joint_gates = joint_gates
        gate_inputs = 3 * channels if joint_gates else channels
        self.gates = nn.ModuleList(nn.Conv2d(gate_inputs, channels, 1) for _ in range(3))
        self.values = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(3))

    def forward(self, optical: Tensor, thermal: Tensor) -> Tensor:
        """Join (B, C, H, W) optical and thermal features into (B, C, H, W) in -3..3."""
        sources = (optical, thermal, optical + thermal)
        gate_sources = (torch.cat(sources, 1),) * 3 if self.joint_gates else sources
        gated = [
            torch.sigmoid(gate(gate_source)) * torch.tanh(value(source))
            for gate, value, gate_source, source in zip(
                self.gates, self.values, gate_sources, sources, strict=True
            )
        ]
        return gated[0] + gated[1] + gated[2]
