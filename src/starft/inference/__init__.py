"""A trained model in use: the classifier, images in, rows of predictions out."""
