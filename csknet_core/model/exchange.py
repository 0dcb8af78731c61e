"""Mixed feature exchange: swap parts of two branches' features without any parameter.

Stated in CSK-Net (arXiv 2312.02240): features are exchanged in channels and in space, without a
sparsity constraint and without learned parameters. Chosen here, after ChangerEx (Fang et al.
2023): no exchange in the first stages, then spatial, then channel exchange, with period 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from csknet_core.errors import ConfigError

EXCHANGES = ("none", "spatial", "channel")


class FeatureExchange(nn.Module):
    """Swap every `period`-th channel, or column, between the optical and the thermal features.

    With mask m (1 where index % period == 0): `o' = m t + (1 - m) o`, `t' = m o + (1 - m) t`.
    `one_way` leaves the thermal features as they are (the paper's figure draws a one-way flow).

    Raises:
        ConfigError: unknown kind, or a period below 2.
    """

    def __init__(self, kind: str, period: int = 2, one_way: bool = False) -> None:
        super().__init__()
        if kind not in EXCHANGES:
            raise ConfigError(f"exchange '{kind}' is unknown; use one of {', '.join(EXCHANGES)}")
        if period < 2:
            raise ConfigError(f"exchange period {period} would swap everything; use 2 or more")
        self.kind = kind
        self.period = period
        self.one_way = one_way

    def forward(
        self, optical: Tensor, thermal: Tensor, active: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Exchange features of one stage.

        Args:
            optical: (B, C, H, W) features of the optical branch.
            thermal: (B, C, H, W) features of the thermal branch.
            active: (B,) bool; samples where it is False are returned unchanged, as when a
                modality is missing. None exchanges every sample.

        Returns:
            The optical and the thermal features after the exchange, shapes unchanged.
        """
        if self.kind == "none":
            return optical, thermal
        axis = 1 if self.kind == "channel" else 3
        mask = torch.arange(optical.shape[axis], device=optical.device) % self.period == 0
        mask = mask.view([-1 if dim == axis else 1 for dim in range(4)])
        if active is not None:
            mask = mask & active.view(-1, 1, 1, 1)
        mixed_optical = torch.where(mask, thermal, optical)
        if self.one_way:
            return mixed_optical, thermal
        return mixed_optical, torch.where(mask, optical, thermal)

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"{self.kind}, period={self.period}, one_way={self.one_way}"
