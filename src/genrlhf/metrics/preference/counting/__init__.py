"""What judgements amount to: win rates, gaps, leaderboards."""
