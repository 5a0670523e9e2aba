"""Writing a trained model for other programs: open_clip, Hugging Face, ONNX, or its head alone."""
