"""Predicting many images with a trained model: which images, one after the other, and where the rows go."""
