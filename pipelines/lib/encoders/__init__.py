"""Encoders: turn features into vectors, as ONNX, with weights of eight bits where they keep a row's neighbours."""
