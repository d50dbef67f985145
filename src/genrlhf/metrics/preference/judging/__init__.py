"""Who is asked which output is better, and what the answer says."""
