"""Images in shards: where each lies and what is said of it; reading shards, and writing them."""
