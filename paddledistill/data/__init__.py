"""From files to batches: reading, tokenising once, caching, batches of similar lengths."""
