"""A kit for a GPU machine that reaches no network; see README.md in this folder."""
