"""DeepLabV3-style decoder: atrous spatial pyramid pooling, then skips up to stride 4.

Stated in CSK-Net (arXiv 2312.02240): one DeepLabV3-style decoder per modality. Chosen here: ASPP
(Chen et al. 2017) runs on the stride-32 features, and the encoder's stages at strides 16, 8 and 4
are added on the way up, because people far away and cones are a few pixels wide.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csknet_core.model.encoders import conv_norm


class SeparableConv(nn.Sequential):
    """Depthwise 3x3 convolution (with dilation), then pointwise convolution, norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(
                inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False
            ),
            conv_norm(inputs, outputs, activation=nn.ReLU),
        )


class AtrousPyramid(nn.Module):
    """ASPP: context at several dilations and over the whole image, projected to `outputs`."""

    def __init__(self, inputs: int, outputs: int, dilations: tuple[int, ...] = (1, 2, 4)) -> None:
        super().__init__()
        self.reduce = conv_norm(inputs, outputs, activation=nn.ReLU)
        self.branches = nn.ModuleList(SeparableConv(outputs, outputs, d) for d in dilations)
        # No batch norm on the pooled branch: a batch of one pooled pixel has no variance.
        self.pooled = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU())
        self.project = conv_norm((len(dilations) + 1) * outputs, outputs, activation=nn.ReLU)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        reduced = self.reduce(x)
        context = [reduced, *(branch(reduced) for branch in self.branches)]
        pooled = self.pooled(x.mean((2, 3), keepdim=True))
        return self.project(torch.cat(context, 1)) + pooled


class Decoder(nn.Module):
    """From an encoder's five stages to one feature map at stride 4.

    Args:
        channels: channels of the encoder's stages, finest first.
        width: channels of the map put out; coarser levels use twice as many.
    """

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        wide = 2 * width
        self.context = AtrousPyramid(channels[4], wide)
        self.skips = nn.ModuleList(
            conv_norm(inputs, outputs)
            for inputs, outputs in ((channels[3], wide), (channels[2], wide), (channels[1], width))
        )
        self.refine = nn.ModuleList(
            SeparableConv(inputs, outputs)
            for inputs, outputs in ((wide, wide), (wide, width), (width, width))
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map the encoder's five feature maps to (B, width, H / 4, W / 4)."""
        x = self.context(features[4])
        for level, skip, refine in zip((3, 2, 1), self.skips, self.refine, strict=True):
            finer = skip(features[level])
            x = F.interpolate(x, finer.shape[2:], mode="bilinear", align_corners=False)
            x = refine(torch.relu(x + finer))
        return x
