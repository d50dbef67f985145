"""Whether a judge agrees with people, and how people are asked."""
