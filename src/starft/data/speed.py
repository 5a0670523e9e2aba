"""How fast one core of this machine reads a config's training images, counted where people wait anyway."""

import time

import numpy as np
import torch

from starft.data.contents import ImageContents
from starft.data.fast_decoding import transform_for
from starft.data.images import BadImageError
from starft.data.imageset import ImageSet
from starft.data.loading import Turn
from starft.types import ImagePreprocessing

SECONDS, MOST = 0.5, 256
"""Processor time and images after which the count ends."""


def images_a_second(data: ImageContents, size: tuple[int, int]) -> float | None:
    """Return how many training images a second of a core are decoded, cropped and resized as the config has it.

    Processor time is counted: what a slow disk adds isn't in it, nor what else the machine does.

    Args:
        data: Of a config.
        size: Height and width that its model takes.

    Returns:
        None where none of the images can be read.
    """
    wanted, table = ImagePreprocessing(size), data.training_table()
    varied = transform_for(data.decode, wanted, data.augmentation)
    images = ImageSet(table, transform_for(data.eval_decode, wanted), varied, data.seed)
    chosen = np.random.default_rng(data.seed).permutation(len(images))[: MOST + 1].tolist()
    threads, count, start = torch.get_num_threads(), 0, 0.0
    torch.set_num_threads(1)
    try:
        for position in (chosen[0], *chosen):  # the first one loads what all need
            try:
                images[Turn(0, position)]
                count += 1
            except BadImageError:
                continue
            if count == 1:
                start = time.process_time()
            elif time.process_time() - start > SECONDS:
                break
        spent = time.process_time() - start
    finally:
        torch.set_num_threads(threads)
    return (count - 1) / spent if count > 1 else None
