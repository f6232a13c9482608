"""What laws are written with: recorders of events, marks, requests, and deadlines."""
