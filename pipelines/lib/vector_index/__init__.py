"""The vector index: plan, build, measure, publish and read its generations, and the evidence that it gives for a score."""
