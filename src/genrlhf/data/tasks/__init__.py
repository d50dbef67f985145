"""Tasks, one file each: where their rows come from, the form of their prompts, and their evaluation sets."""
