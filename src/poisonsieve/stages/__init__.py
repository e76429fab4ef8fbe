"""Work that becomes a folder once: how it is kept (`keep`), and the work itself (`train`)."""
