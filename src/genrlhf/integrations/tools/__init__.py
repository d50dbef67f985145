"""What other tools write: how it is recognised, and what of it is prompt and output."""
