"""The guard as a service: screening over HTTP, the quarantine in SQL, metrics, and a client. Extra: `serve`."""
