"""Train a recipe in float64 and write its losses: python train_double.py RECIPE FOLDER JSON.

Two processes and one agree to rounding; in float32 batch norm over the few pixels of the deepest
features of a tiny crop amplifies that rounding within a step.
"""

import json
import sys
from pathlib import Path

from csknet_core.training import trainer as training
from csknet_core.training.distributed import process_index
from csknet_core.training.recipe import load_recipe


def main(recipe: str, folder: str, losses: str) -> None:
    training._WEIGHT_SAMPLES = 8  # else counting classes takes longer than training
    trainer = training.Trainer(load_recipe(recipe), folder)
    for network in (trainer.graph, trainer.average, trainer.graph._teacher._network):
        network.double()
    trainer.graph.supervised.float()  # the losses are taken in float32 whatever the network's type
    trainer._parallel = trainer._spread()
    terms = [
        trainer.train_step((optical.double(), thermal.double(), labels))
        for optical, thermal, labels in trainer._batches()
    ]
    if process_index() == 0:
        trainer.save()
        Path(losses).write_text(json.dumps(terms))


main(*sys.argv[1:])
