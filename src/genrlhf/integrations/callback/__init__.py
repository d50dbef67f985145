"""What `DiversityCallback` is made of: its trainer, its schedule, its completions and where they go."""
