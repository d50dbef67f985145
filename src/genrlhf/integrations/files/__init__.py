"""Records of files of all kinds: JSON, JSON lines, CSV, TSV, Parquet, Inspect's archives; bounded, as they come."""
