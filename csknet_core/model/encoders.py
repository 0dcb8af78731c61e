"""Encoders: five stages at strides 2, 4, 8, 16 and 32, built of conv-norm-activation sequences."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from csknet_core.errors import ConfigError


class Encoder(nn.Module):
    """A feature pyramid: `stages[i]` maps stage i-1's features to stride `2 ** (i + 1)`.

    Attributes:
        stages: five modules, to be applied one after the other.
        channels: the number of channels each stage puts out.
    """

    def __init__(self, stages: list[nn.Module], channels: tuple[int, ...]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features (B, channels[i], H / 2**(i+1), W / 2**(i+1)) of every stage."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    activation: Callable[[], nn.Module] | None = None,
    eps: float = 1e-5,
) -> nn.Sequential:
    """Return convolution, batch norm and (if given) activation, padded to keep the grid."""
    layers: list[nn.Module] = [
        nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            padding=dilation * (kernel - 1) // 2,
            dilation=dilation,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(outputs, eps=eps),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """MobileNetV2 block (Sandler et al. 2018) as EfficientNet-Lite uses it: ReLU6, no SE."""

    def __init__(self, inputs: int, outputs: int, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expand
        layers: list[nn.Module] = []
        if expand != 1:
            layers.append(conv_norm(inputs, hidden, activation=nn.ReLU6, eps=1e-3))
        layers.append(
            conv_norm(
                hidden,
                hidden,
                kernel,
                stride=stride,
                groups=hidden,
                activation=nn.ReLU6,
                eps=1e-3,
            )
        )
        layers.append(conv_norm(hidden, outputs, eps=1e-3))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return x + self.layers(x) if self.residual else self.layers(x)


# repeats, kernel, stride, expansion, channels of EfficientNet-B0 (Tan & Le 2019).
_LITE_BLOCKS = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]


def efficientnet_lite(width: float, depth: float) -> Encoder:
    """Build an EfficientNet-Lite encoder: no squeeze-and-excite, ReLU6, stem not scaled."""
    stage_layers: list[list[nn.Module]] = [
        [conv_norm(3, 32, 3, stride=2, activation=nn.ReLU6, eps=1e-3)]
    ]
    channels: list[int] = [32]
    inputs = 32
    last = len(_LITE_BLOCKS) - 1
    for row, (repeats, kernel, stride, expand, base) in enumerate(_LITE_BLOCKS):
        outputs = _round_channels(base * width)
        count = repeats if row in (0, last) else math.ceil(repeats * depth)
        if stride == 2:
            stage_layers.append([])
            channels.append(outputs)
        for repeat in range(count):
            step = stride if repeat == 0 else 1
            stage_layers[-1].append(InvertedResidual(inputs, outputs, expand, kernel, step))
            inputs = outputs
        channels[-1] = outputs
    return Encoder([nn.Sequential(*layers) for layers in stage_layers], tuple(channels))


def _round_channels(channels: float) -> int:
    """Round to a multiple of 8 without losing more than a tenth, as MobileNet does."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class ResidualBlock(nn.Module):
    """ResNet block (He et al. 2016): `bottleneck` 1-3-1 with 4x expansion, or basic 3-3."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = width * 4 if bottleneck else width
        if bottleneck:
            self.layers = nn.Sequential(
                conv_norm(inputs, width, activation=nn.ReLU),
                conv_norm(width, width, 3, stride=stride, activation=nn.ReLU),
                conv_norm(width, outputs),
            )
        else:
            self.layers = nn.Sequential(
                conv_norm(inputs, width, 3, stride=stride, activation=nn.ReLU),
                conv_norm(width, outputs, 3),
            )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = conv_norm(inputs, outputs, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return torch.relu(self.layers(x) + self.shortcut(x))


def resnet(repeats: tuple[int, int, int, int], bottleneck: bool) -> Encoder:
    """Build a ResNet encoder; the max-pooling opens the stage at stride 4."""
    stages: list[nn.Module] = [conv_norm(3, 64, 7, stride=2, activation=nn.ReLU)]
    channels = [64]
    inputs = 64
    for index, count in enumerate(repeats):
        width = 64 * 2**index
        layers: list[nn.Module] = [nn.MaxPool2d(3, 2, 1)] if index == 0 else []
        for repeat in range(count):
            stride = 2 if index > 0 and repeat == 0 else 1
            layers.append(ResidualBlock(inputs, width, stride, bottleneck))
            inputs = width * 4 if bottleneck else width
        stages.append(nn.Sequential(*layers))
        channels.append(inputs)
    return Encoder(stages, tuple(channels))


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "efficientnet_lite0": lambda: efficientnet_lite(1.0, 1.0),
    "efficientnet_lite1": lambda: efficientnet_lite(1.0, 1.1),
    "efficientnet_lite2": lambda: efficientnet_lite(1.1, 1.2),
    "resnet18": lambda: resnet((2, 2, 2, 2), bottleneck=False),
    "resnet50": lambda: resnet((3, 4, 6, 3), bottleneck=True),
}


def build_encoder(name: str) -> Encoder:
    """Build an encoder with random weights.

    Raises:
        ConfigError: the name is not in `ENCODERS`.
    """
    if name not in ENCODERS:
        raise ConfigError(f"encoder '{name}' is unknown; use one of {', '.join(ENCODERS)}")
    return ENCODERS[name]()
