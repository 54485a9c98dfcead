"""region-stream's consumer: a stream entry in, a persisted regional snapshot out."""
