"""What the server keeps: accounts, secrets, files, revisions, runners, queued requests."""
