"""What a request asks to run, read from the protocol into values."""
