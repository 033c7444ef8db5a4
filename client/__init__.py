"""Talking to a running server: inference by REST and gRPC, and its management."""
