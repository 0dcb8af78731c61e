"""The CSK-Net network (arXiv 2312.02240): one encoder, two decoders, GSU, three heads."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from csknet_core.classes import IGNORE_ID
from csknet_core.errors import ConfigError
from csknet_core.input_size import STRIDE
from csknet_core.modality import Modality, Mode
from csknet_core.model.decoder import Decoder, SeparableConv
from csknet_core.model.encoders import build_encoder
from csknet_core.model.exchange import FeatureExchange
from csknet_core.model.gsu import GatedSpectralUnit
from csknet_core.model.norm import Routing, convert_batch_norm

INPUT_MEAN = 0.498
INPUT_STD = 0.502
"""Pixel values 0..1 are shifted and scaled as the ImageNet weights of the encoders expect."""

MAX_WIDTH = 1024
"""Most channels of a decoder's output."""

_KINDS = {"int": int, "str": str, "bool": bool, "tuple": tuple}


@dataclass(frozen=True)
class ModelConfig:
    """What a network is built from; stored with its weights.

    Attributes:
        num_classes: classes of the label maps.
        encoder: a name in `encoders.ENCODERS`.
        decoder_width: channels of each decoder's output.
        separate_norm: batch norm per modality; False shares it (for ablation).
        exchange: kind of feature exchange after each of the five encoder stages.
        exchange_one_way: only the optical branch receives.
        fusion: "gsu", "gsu_joint" (gates see all sources) or "sum" (for ablation).

    Raises:
        ConfigError: a value that cannot be built.
    """

    num_classes: int
    encoder: str = "efficientnet_lite0"
    decoder_width: int = 64
    separate_norm: bool = True
    exchange: tuple[str, ...] = ("none", "none", "spatial", "channel", "channel")
    exchange_one_way: bool = False
    fusion: str = "gsu"

    def __post_init__(self) -> None:
        if isinstance(self.exchange, list):
            object.__setattr__(self, "exchange", tuple(self.exchange))
        self._check_types()
        if len(self.exchange) != 5:
            raise ConfigError(f"exchange {self.exchange}: give one kind for each of 5 stages")
        if self.fusion not in ("gsu", "gsu_joint", "sum"):
            raise ConfigError(f"fusion '{self.fusion}' is unknown; use gsu, gsu_joint or sum")
        # Upper bounds too: a weights file's settings are built before its tensors are compared.
        if not 2 <= self.num_classes <= IGNORE_ID or not 1 <= self.decoder_width <= MAX_WIDTH:
            raise ConfigError(
                f"num_classes must be 2 to {IGNORE_ID} and decoder_width 1 to {MAX_WIDTH}"
            )

    def _check_types(self) -> None:
        # A weights file may have anything here.
        for entry in fields(self):
            value, kind = getattr(self, entry.name), _KINDS[str(entry.type).partition("[")[0]]
            if type(value) is not kind:
                raise ConfigError(f"{entry.name} {value!r}: expected {entry.type}")
        if not all(isinstance(stage, str) for stage in self.exchange):
            raise ConfigError(f"exchange {self.exchange}: give the names of kinds")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return {**asdict(self), "exchange": list(self.exchange)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelConfig:
        """Build settings from plain data.

        Raises:
            ConfigError: a key that is unknown or missing, or a value that cannot be built.
        """
        unknown = set(data) - {f.name for f in fields(cls)}
        if unknown:
            raise ConfigError(f"model settings {', '.join(sorted(map(str, unknown)))} are unknown")
        try:
            return cls(**data)
        except TypeError as error:
            raise ConfigError(f"model settings: {error}") from error


class Logits(NamedTuple):
    """Logits (B, num_classes, H / 4, W / 4) of the three heads."""

    fused: Tensor
    optical: Tensor
    thermal: Tensor


class CSKNet(nn.Module):
    """RGB-thermal segmentation network with one entry for each mode.

    Images are float tensors in 0..1 whose sides are multiples of `STRIDE`: optical
    (B, 3, H, W) RGB, thermal (B, 1, H, W).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.routing = Routing()
        self.encoder = build_encoder(config.encoder)
        if config.separate_norm:
            convert_batch_norm(self.encoder, self.routing)
        self.exchanges = nn.ModuleList(
            FeatureExchange(kind, one_way=config.exchange_one_way) for kind in config.exchange
        )
        width = config.decoder_width
        self.optical_decoder = Decoder(self.encoder.channels, width)
        self.thermal_decoder = Decoder(self.encoder.channels, width)
        self.gsu = None
        if config.fusion != "sum":
            self.gsu = GatedSpectralUnit(width, joint_gates=config.fusion == "gsu_joint")
        self.fused_head = nn.Sequential(
            SeparableConv(width, width), nn.Conv2d(width, config.num_classes, 1)
        )
        self.optical_head = nn.Conv2d(width, config.num_classes, 1)
        self.thermal_head = nn.Conv2d(width, config.num_classes, 1)

    def forward(self, optical: Tensor, thermal: Tensor, exchange: Tensor | None = None) -> Logits:
        """Run all heads on a batch of pairs, both modalities stacked into one encoder pass.

        Args:
            optical: (B, 3, H, W).
            thermal: (B, 1, H, W).
            exchange: (B,) bool, False for samples whose branches must not see each other: for
                them the optical and thermal logits are exactly those of the single-modality
                entries. None exchanges every sample.
        """
        return self.decode_pair(self.encode_pair(optical, thermal, exchange))

    def encode_pair(
        self, optical: Tensor, thermal: Tensor, exchange: Tensor | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the optical and thermal features of every encoder stage, after exchange."""
        x = torch.cat([prepare_input(optical), prepare_input(thermal)])
        features = []
        with self.routing.use(Modality.OPTICAL, Modality.THERMAL):
            for stage, swap in zip(self.encoder.stages, self.exchanges, strict=True):
                pair = swap(*stage(x).chunk(2), exchange)
                features.append(pair)
                x = torch.cat(pair)
        return features

    def decode_pair(self, features: list[tuple[Tensor, Tensor]]) -> Logits:
        """Return the logits of all heads from what `encode_pair` returned."""
        decoded_optical = self.optical_decoder([o for o, _ in features])
        decoded_thermal = self.thermal_decoder([t for _, t in features])
        return Logits(
            self.fused_head(self.fuse(decoded_optical, decoded_thermal)),
            self.optical_head(decoded_optical),
            self.thermal_head(decoded_thermal),
        )

    def fuse(self, optical: Tensor, thermal: Tensor) -> Tensor:
        """Join the decoders' features (B, width, H / 4, W / 4)."""
        return optical + thermal if self.gsu is None else self.gsu(optical, thermal)

    def forward_fused(self, optical: Tensor, thermal: Tensor) -> Tensor:
        """Return the fused logits (B, num_classes, H / 4, W / 4) alone."""
        features = self.encode_pair(optical, thermal)
        return self.fused_head(
            self.fuse(
                self.optical_decoder([o for o, _ in features]),
                self.thermal_decoder([t for _, t in features]),
            )
        )

    def forward_single(self, modality: Modality, image: Tensor) -> Tensor:
        """Return the logits of one branch, which touches nothing of the other one.

        Args:
            modality: the one modality there is.
            image: (B, 3, H, W) optical or (B, 1, H, W) thermal.
        """
        return self.decode_single(modality, self.encode_single(modality, image))

    def encode_single(self, modality: Modality, image: Tensor) -> list[Tensor]:
        """Return the features of every encoder stage of one branch on its own."""
        with self.routing.use(modality):
            return self.encoder(prepare_input(image))

    def decode_single(self, modality: Modality, features: list[Tensor]) -> Tensor:
        """Return the logits of one branch from what `encode_single` returned."""
        if modality is Modality.OPTICAL:
            return self.optical_head(self.optical_decoder(features))
        return self.thermal_head(self.thermal_decoder(features))

    def predict(self, mode: Mode, optical: Tensor | None, thermal: Tensor | None) -> Tensor:
        """Return the logits (B, num_classes, H / 4, W / 4) of one mode.

        Raises:
            ValueError: an image that the mode reads is None.
        """
        if mode is Mode.OPTICAL_ONLY and optical is not None:
            return self.forward_single(Modality.OPTICAL, optical)
        if mode is Mode.THERMAL_ONLY and thermal is not None:
            return self.forward_single(Modality.THERMAL, thermal)
        if mode is Mode.FUSED and optical is not None and thermal is not None:
            return self.forward_fused(optical, thermal)
        raise ValueError(f"mode {mode.value} needs an image that is None")


def prepare_input(image: Tensor) -> Tensor:
    """Shift, scale and, for thermal, repeat to three channels: (B, 1 or 3, H, W) in 0..1.

    Raises:
        ValueError: the sides are not multiples of `STRIDE`; the message says which pad is missing.
    """
    height, width = image.shape[2:]
    if height % STRIDE or width % STRIDE:
        raise ValueError(
            f"image is {height}x{width}; pad it by {-height % STRIDE} rows and "
            f"{-width % STRIDE} columns to multiples of {STRIDE}"
        )
    return ((image - INPUT_MEAN) / INPUT_STD).expand(-1, 3, -1, -1)
