"""The stand that steps are measured on: one student, one twin, batches of noise, and each way to make a step."""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from open_clip import IMAGENET_CLASSNAMES
from tests import plain_step
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.utils.flop_counter import FlopCounterMode

from starft.captions.pool_files import load_pools
from starft.captions.pools import Pool
from starft.captions.sampler import CaptionSampler
from starft.cli.launch import keep_memory
from starft.clip.sharing import share_beginnings
from starft.losses import SpuriosityAlignment
from starft.losses.context import Progress
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.training.module import FinetuneModule
from starft.training.optim import adamw
from starft.types import Batch

PLAIN = ("plain", "plain_bf16", "flyp_plain")
OURS = ("starft", "starft_ce", "ce", "flyp")
TEMPLATE, WEIGHT, LR = "a photo of a {}.", 0.5, 1e-5
EPOCH = 100
"""How many steps of an epoch the twin is told of, which remembers few captions only if the epoch is short."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add what a stand needs to know to a parser."""
    parser.add_argument("--model", default="ViT-B-32", help="an open_clip architecture; weights are random")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument(
        "--pool", type=int, default=0, help="made-up spurious templates; 0 takes the shipped backgrounds"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"], help="of all but plain")
    parser.add_argument(
        "--clock", default="wall", choices=["wall", "cpu"], help="cpu: of this process, on busy machines"
    )
    parser.add_argument("--keep-memory", action="store_true", help="as starft's commands do on a CPU")
    parser.add_argument("--compile", action="store_true", help="let torch.compile compile the towers")
    parser.add_argument("--rounds", type=int, default=5, help="turns that are counted")


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return what the command line gives, after doing what it says of this process."""
    given = parser.parse_args()
    if given.keep_memory:
        keep_memory()
    return given


class Stand:
    """All ways to make a step, on the same weights, optimizer state and batches.

    Args:
        given: The options of `options`.
        module_options: Of the module, beside those.
    """

    def __init__(self, given: argparse.Namespace, **module_options: Any) -> None:
        torch.manual_seed(0)
        self.given, self.device = given, torch.device(given.device)
        self.clock = time.perf_counter if given.clock == "wall" else time.process_time
        pretrained = "mini" if given.model == "starft-mini" else None
        terms: list[Any] = [SpuriosityAlignment(WEIGHT)]
        given_options = {"regularizers": terms, "compile": given.compile, **module_options}
        module = FinetuneModule(Contrastive(), given.model, pretrained, **given_options)
        self.module = module.to(self.device).train()
        if module.hparams["share_frozen"]:  # as a run does when it starts
            share_beginnings(module.clip, [module.twin], given.compile)
        names = ("landbird", "waterbird") if given.classes == 2 else tuple(IMAGENET_CLASSNAMES[: given.classes])
        made = tuple(f"{{}} in street {number}" for number in range(given.pool))
        self.sampler = CaptionSampler(
            names, (TEMPLATE,), Pool("made", "made up", made, {}, {}) if made else load_pools("backgrounds"), seed=0
        )
        module.class_names, module.templates, module.captions = names, (TEMPLATE,), self.sampler
        remembered = self.sampler.all_spurious(given.batch_size * EPOCH / 2)
        module.twin.remember(remembered)
        width = module.twin.encode_text(remembered or ["a"]).shape[1]  # all is remembered, as a few steps into a run
        self.head = nn.Parameter(torch.randn(len(names), width, device=self.device))
        trained = [*(parameter for parameter in module.clip.parameters() if parameter.requires_grad), self.head]
        self.ours = adamw([{"params": trained, "weight_decay": 0.1}], LR)
        self.plain = AdamW(trained, lr=LR, weight_decay=0.1)
        self.plain.state = self.ours.state  # the same moments, so that they are held once
        self.turn(0)

    def turn(self, number: int) -> None:
        """Put the batch of a turn on the stand."""
        self.number = number
        stream = torch.Generator().manual_seed(number)
        image = torch.randn(self.given.batch_size, 3, *self.module.preprocessing.size, generator=stream)
        label = torch.randint(len(self.sampler.class_names), (len(image),), generator=stream)
        self.labels = label.tolist()
        index = torch.arange(len(image))
        self.batch = Batch(image=image.to(self.device), label=label.to(self.device), index=index)

    def loss(self, row: str) -> Tensor:
        """Return the loss of a row on the batch that is on the stand."""
        bfloat16 = self.given.precision == "bfloat16" and row != "plain"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            if row in OURS:
                return self._our_loss(row)
            images, clip, twin = self.batch["image"], self.module.clip, self.module.twin
            if row == "floor":
                twin.encode_image(images)
                return clip.encode_image(images)[:, 0].sum()
            clean, spurious = self.sampler.draw(self.labels, self.number)
            if row == "flyp_plain":
                return plain_step.flyp(clip, images, clean)
            return plain_step.starft(clip, twin, images, clean, spurious, self.batch["label"], WEIGHT)

    def _our_loss(self, row: str) -> Tensor:
        self.module._host_labels, self.module._host_index = self.labels, list(range(len(self.labels)))
        ctx = self.module._context(self.batch, Progress(self.number, EPOCH, 0, 10))
        ctx.linear_head = self.head if row in ("ce", "starft_ce") else None
        ctx.together = row.startswith("starft")
        loss: Tensor = (Contrastive() if ctx.linear_head is None else CrossEntropy())(ctx)
        return loss + WEIGHT * SpuriosityAlignment()(ctx) if row.startswith("starft") else loss

    def step(self, row: str) -> tuple[float, float]:
        """Make a step; return its seconds, and those of the optimizer among them."""
        self.wait()
        start = self.clock()
        self.loss(row).backward()
        self.wait()
        middle = self.clock()
        optimizer: Optimizer = self.plain if row in PLAIN else self.ours
        if row != "floor":
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.wait()
        end = self.clock()
        return end - start, end - middle

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def flops(self, row: str) -> int:
        """Make a step; return its operations in products and convolutions, a multiplication and its addition two."""
        with FlopCounterMode(display=False) as counter:
            self.loss(row).backward()
        self.ours.step()
        self.ours.zero_grad(set_to_none=True)
        return int(counter.get_total_flops())

    def peak_mib(self) -> int:
        """Return the most memory held so far: by this process on a CPU, by torch on a GPU."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated() // 2**20)
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def where(given: argparse.Namespace) -> dict[str, Any]:
    """Return what a number depends on besides the code."""
    return {
        "device": torch.cuda.get_device_name() if given.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "clock": given.clock,
        "precision": given.precision,
        "keep_memory": given.keep_memory,
        "compiled": given.compile,
        "torch": torch.__version__,
    }
