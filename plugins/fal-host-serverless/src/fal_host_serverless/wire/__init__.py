"""The protocol of the service: gRPC channels and streams, REST, messages and failures."""
