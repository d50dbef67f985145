"""Self-Instruct (Wang et al. 2023): a model writes instructions and instances from seed tasks."""
