"""From features to an evaluated ONNX model."""
