"""FSDP: of the towers' residual blocks each process holds a part, whole only while a block is at work.

Gradients, and so runs, are those of DDP, which goes on to average all that isn't in a block: embeddings, last norms,
projections, the logit scale, a linear head. Those are the smaller part of a large model, and stay whole.
"""

from typing import Any

from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from open_clip.transformer import Transformer
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from starft.clip.encoder import text_tower_of
from starft.distributed import gather_on_first, is_sharded, shard_like
from starft.errors import ConfigError
from starft.runs.checkpoints import TWIN
from starft.training.module import FinetuneModule


class FullySharded(DDPStrategy):
    """Train with weights, gradients and moments in parts, one a device; checkpoints are ordinary ones.

    Evaluation on its own (``validate``, ``test``, ``predict``) is that of DDP, with a whole model on each device.
    """

    def __init__(self) -> None:
        super().__init__()

    def model_to_device(self) -> None:
        """Cut the blocks one by one, so that no device ever holds the whole model; move the rest."""
        module = self.lightning_module
        assert isinstance(module, FinetuneModule)
        if is_sharded(module):
            raise ConfigError(
                "This module's weights are in parts since it was trained with FSDP; build it anew and give the trainer "
                "the checkpoint as ckpt_path."
            )
        if module.trainer.state.fn == TrainerFn.FITTING:
            check(module)
            shard(module, init_device_mesh(self.root_device.type, (self.world_size,)))
            # blocks that come together in inference mode first can't be trained any more
            module.trainer.fit_loop.epoch_loop.val_loop.inference_mode = False
        super().model_to_device()

    def configure_ddp(self) -> None:
        """Leave what is in parts out of DDP."""
        assert self.lightning_module is not None
        leave_to_fsdp(self.lightning_module)
        super().configure_ddp()

    def teardown(self) -> None:
        """End; parts stay on their devices, as those of Lightning's own strategies do."""
        assert self.lightning_module is not None
        if not is_sharded(self.lightning_module):
            return super().teardown()
        self.model = self.lightning_module
        for item in (self.cluster_environment, self.precision_plugin, self.accelerator, self.checkpoint_io):
            item.teardown()  # type: ignore[union-attr]
        return None

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return whole weights on the first process; the twin, which no checkpoint keeps, isn't put together."""
        state = super().lightning_module_state_dict()
        return {key: value if key.startswith(TWIN) else gather_on_first(value) for key, value in state.items()}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return whole moments on the first process."""
        state: dict[str, Any] = super().optimizer_state(optimizer)
        moments = {at: {k: gather_on_first(v) for k, v in item.items()} for at, item in state["state"].items()}
        return state | {"state": moments}

    def load_optimizer_state_dict(self, checkpoint: Any) -> None:
        """Take each process's part of whole moments."""
        states = []
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            moments = {
                at: {k: shard_like(v, weights[at]) for k, v in item.items()} for at, item in state["state"].items()
            }
            states.append(state | {"state": moments})
        super().load_optimizer_state_dict({"optimizer_states": states})


def check_strategy(strategy: Any) -> None:
    """Refuse strategies of others that cut a model: they know nothing of how ours is called, and of its losses.

    Args:
        strategy: ``trainer.strategy`` of a config: a name, or a class and its arguments.

    Raises:
        ConfigError: It is such a one.
    """
    name = str(getattr(strategy, "class_path", strategy))
    theirs = not name.startswith(f"{__name__}.")
    if theirs and any(word in name.lower().replace("_", "") for word in ("fsdp", "modelparallel", "deepspeed")):
        raise ConfigError(
            f"trainer.strategy is {name}, which isn't known to give the gradients of one device here; for weights in "
            "parts lay --config common/fsdp over the config, otherwise common/ddp with model.micro_batch_size."
        )


def shard(module: FinetuneModule, mesh: DeviceMesh) -> None:
    """Cut the residual blocks of student, twin and teachers into parts.

    Args:
        module: On the host or the device; blocks end up on the device.
        mesh: All processes, in one row.
    """
    for encoder in (module.clip, module.twin, *module._followers()):
        for transformer in _transformers(encoder.model):
            for block in transformer.resblocks:
                fully_shard(block, mesh=mesh, reshard_after_forward=True)
            fully_shard(transformer, mesh=mesh)  # has no weights of its own; knows which block comes next


def leave_to_fsdp(module: nn.Module) -> None:
    """Let DDP pass over the weights that are in parts.

    Args:
        module: That DDP is going to wrap.
    """
    cut = [name for name, weight in module.named_parameters() if isinstance(weight, DTensor)]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, cut)  # type: ignore[no-untyped-call]


def _transformers(model: nn.Module) -> list[Transformer]:
    return [part for part in model.modules() if isinstance(part, Transformer)]


def check(module: FinetuneModule) -> None:
    """Refuse what would give other gradients than a process alone, leave processes waiting, or isn't tried.

    Args:
        module: With its trainer.

    Raises:
        ConfigError: There is such a thing.
    """
    trainer, clip = module.trainer, module.clip
    terms = [term for term in module._terms() if term.weight > 0]
    readers = [*trainer.callbacks, *terms]  # type: ignore[attr-defined]
    read_directly = [type(reader).__name__ for reader in readers if getattr(reader, "needs_whole_weights", False)]
    wrong = {
        "model.micro_batch_size": clip.micro_batch_size is not None,  # captions differ in number, so calls would too
        "model.adapter": module.adapter is not None,
        "model.twin_precision bf16": module.twin.in_bfloat16,
        "model.compile": clip.model.visual._compiled_call_impl is not None,
        "model.head_start probe": module.head_start == "probe",
        "a trainer.precision of fp16": getattr(trainer.precision_plugin, "scaler", None) is not None,
        "trainer.gradient_clip_algorithm value": trainer.gradient_clip_algorithm == "value",
        **dict.fromkeys(read_directly, True),
    }
    for what in (name for name, item in wrong.items() if item):
        raise ConfigError(f"FSDP can't train with {what}; leave it out, or lay common/ddp over the config instead.")
    towers = {"image": clip.model.visual, "text": text_tower_of(clip.model)}
    for name in (name for name, tower in towers.items() if not _transformers(tower)):
        raise ConfigError(
            f"FSDP cuts the blocks of open_clip's own transformers, and the {name} tower of {module.model_name} is of "
            "another kind; lay common/ddp over the config instead, with model.micro_batch_size against large batches."
        )
