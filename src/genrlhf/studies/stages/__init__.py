"""What the stages of a study do, each in a folder of its own."""
