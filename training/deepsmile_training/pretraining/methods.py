"""Methods: the modules that learn, made as a configuration says."""

from collections.abc import Callable

import torch
from torch import nn

from deepsmile_training.encoders.backbones import TIMM
from deepsmile_training.encoders.initialisation import Origin, load_initialisation
from deepsmile_training.encoders.tile_encoder import TileEncoder, make_encoder
from deepsmile_training.pretraining.byol import BYOL
from deepsmile_training.pretraining.config import PretrainConfig
from deepsmile_training.pretraining.distributed import World
from deepsmile_training.pretraining.projection import byol_head, simclr_head
from deepsmile_training.pretraining.recomputing import recompute_blocks
from deepsmile_training.pretraining.simclr import SimCLR

Method = SimCLR | BYOL


def make_method(encoder: TileEncoder, config: PretrainConfig, world: World) -> Method:
    """The method around an encoder; its heads are the same for the same seed, on every rank."""
    torch.manual_seed(config.seed)
    if config.method == "simclr":
        head = simclr_head(config.head, encoder.feature_dim, config.embedding_dim)
        return SimCLR(encoder, head, config.temperature, world)
    sizes = config.byol
    projector = byol_head(encoder.feature_dim, sizes.hidden, sizes.embedding_dim)
    predictor = byol_head(sizes.embedding_dim, sizes.hidden, sizes.embedding_dim)
    return BYOL(encoder, projector, predictor, sizes.momentum)


def first_encoder(
    config: PretrainConfig, known: Origin | None = None
) -> tuple[TileEncoder, Origin]:
    """The encoder before its first step, and where its weights come from.

    Of a run that goes on that is `known`: its weights are the checkpoint's, and none are read here.
    """
    encoder = make_encoder(config.backbone, config.seed)
    return encoder, known or load_initialisation(encoder, config.initialisation)


def joins_batch_norms(config: PretrainConfig, world: World) -> bool:
    """Whether batch norms see the batches of all ranks as one; torch can that on GPUs only."""
    return config.sync_batch_norm and world.size > 1 and world.device.type == "cuda"


def with_joined_batch_norms(method: Method, backbone: str) -> Method:
    """The same method, whose batch norms see the batches of all ranks as one."""
    convert: Callable[[Method], Method] = nn.SyncBatchNorm.convert_sync_batchnorm
    if backbone.startswith(TIMM):  # whose batch norms hold activations, which torch's would drop
        from timm.layers.norm_act import convert_sync_batchnorm as convert
    return convert(method)


def prepare(method: Method, config: PretrainConfig, world: World) -> Method:
    """Put a method on its device, as fast and as small as the configuration wants.

    Raises:
        RequestInvalid: what it wants cannot be had of this backbone.
    """
    if joins_batch_norms(config, world):
        method = with_joined_batch_norms(method, config.backbone)
    layout = torch.channels_last if config.running.channels_last else torch.contiguous_format
    method = method.to(world.device).to(memory_format=layout)
    if config.running.gradient_checkpointing:
        recompute_blocks(method.encoder)
    if config.running.compile:
        method.encoder.backbone.compile()
    return method
