"""Everything a training step differentiates, as one module, so that DDP sees every parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from csknet_core.losses.contrast import PixelContrast
from csknet_core.losses.distillation import SpectralDistillation, answer_divergence
from csknet_core.losses.objective import SupervisedObjective
from csknet_core.modality import Modality
from csknet_core.model.csknet import CSKNet, Logits
from csknet_core.training.recipe import Recipe
from csknet_core.training.teacher import Teacher

Features = list[tuple[Tensor, Tensor]]
"""Optical and thermal features of the five encoder stages."""


class TrainingGraph(nn.Module):
    """The network, its training-only projection head and the objectives a recipe asks for.

    Args:
        network: trained in place.
        supervised: cross-entropy on the heads.
        recipe: says which other losses there are.
        teacher: for distillation; it is no part of the module and is not trained.
    """

    def __init__(
        self,
        network: CSKNet,
        supervised: SupervisedObjective,
        recipe: Recipe,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.supervised = supervised
        self.recipe = recipe
        self.contrast: PixelContrast | None = None
        if recipe.contrast.weight > 0 and recipe.modality == "both":
            channels = network.encoder.channels[recipe.contrast.stage - 1]
            self.contrast = PixelContrast(channels, recipe.contrast)
        self.distillation = SpectralDistillation(recipe.distillation)
        self._teacher = teacher

    def forward(
        self,
        optical: Tensor,
        thermal: Tensor,
        labels: Tensor,
        exchange: Tensor,
        step: int,
        fused: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the weighted terms of the loss and their sum under "total".

        Args:
            optical: (B, 3, H, W) in 0..1.
            thermal: (B, 1, H, W) in 0..1.
            labels: (B, H, W) int64 class ids, 255 is ignored.
            exchange: (B,) bool, which samples exchange features.
            step: of the run.
            fused: logits (B, C, h, w) that the thermal head learns from; None before it does.
        """
        if self.recipe.modality != "both":
            terms = self._single_terms(optical, thermal, labels)
        else:
            features = self.network.encode_pair(optical, thermal, exchange)
            logits = self.network.decode_pair(features)
            terms = {
                **self.supervised(logits, labels, exchange),
                **self._teacher_terms(optical, features, logits, exchange),
                **self._fused_terms(logits, fused),
                **self._contrast_terms(features, logits, labels, step),
            }
        return {**terms, "total": torch.stack(list(terms.values())).sum()}

    def _single_terms(self, optical: Tensor, thermal: Tensor, labels: Tensor) -> dict[str, Tensor]:
        modality = Modality(self.recipe.modality)
        image = optical if modality is Modality.OPTICAL else thermal
        logits = self.network.forward_single(modality, image)
        return {modality.value: self.supervised.cross_entropy(logits, labels)}

    def _teacher_terms(
        self, optical: Tensor, features: Features, logits: Logits, exchange: Tensor
    ) -> dict[str, Tensor]:
        if self._teacher is None:
            return {}
        taught = self._teacher(optical)
        terms: dict[str, Tensor] = self.distillation(
            logits.optical, features, taught.logits, taught.features, self._alone(exchange)
        )
        return terms

    def _fused_terms(self, logits: Logits, fused: Tensor | None) -> dict[str, Tensor]:
        weight = self.recipe.self_training.thermal_weight
        if weight == 0:
            return {}
        none = logits.thermal.new_zeros(())
        missed = none if fused is None else answer_divergence(logits.thermal, fused)
        return {"fused_distillation": weight * missed}

    def _contrast_terms(
        self, features: Features, logits: Logits, labels: Tensor, step: int
    ) -> dict[str, Tensor]:
        if self.contrast is None:
            return {}
        settings = self.recipe.contrast
        predictions = logits.optical.argmax(1), logits.thermal.argmax(1)
        # The same draw after a resume, and another one at every step.
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        contrast = self.contrast(features[settings.stage - 1], labels, predictions, generator)
        active = settings.weight if step >= settings.warmup else 0.0
        return {"contrast": active * contrast}

    def _alone(self, exchange: Tensor) -> Tensor:
        """Return the weight (B,) of samples in what the teacher teaches the optical branch alone.

        After exchange part of the optical features are thermal ones, through which the thermal
        branch would be taught as well. Where no sample is without exchange (no modality dropout)
        there is no other choice. Divided by what is expected, so that the weights of all processes
        together have mean 1.
        """
        dropped = self.recipe.modality_dropout
        if dropped == 0:
            return torch.ones(len(exchange), device=exchange.device)
        return (~exchange).float() / dropped
