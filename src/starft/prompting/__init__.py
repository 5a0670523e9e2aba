"""The prompt stage: a language model is asked for spurious labels; its answers become a pool."""
