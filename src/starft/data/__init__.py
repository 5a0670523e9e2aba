"""Data: loaders and DataModules."""
