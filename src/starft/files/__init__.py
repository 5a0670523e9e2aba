"""Files: whole or not there, shipped ones, the reader of YAML, digests."""
