"""Publishing regional snapshots onto the stream."""
