"""From features and a pinned model to published scores."""
