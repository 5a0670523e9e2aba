"""A run folder: checkpoints, results, samples, manifest, lock, loggers, and what lets a run go on."""
