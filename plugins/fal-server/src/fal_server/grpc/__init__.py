"""The gRPC service, and the methods that it answers."""
