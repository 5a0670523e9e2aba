"""Fine-tune CLIP without teaching it shortcuts: StarFT and its rivals on PyTorch Lightning."""

__version__ = "0.1.0"
