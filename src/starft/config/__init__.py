"""Reading the words of a command and its YAML: parsers, messages, checks before long work."""
