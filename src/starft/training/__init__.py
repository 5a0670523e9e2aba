"""Training: the LightningModule, its gradients, optimizer and guards, FSDP, averages of weights."""
