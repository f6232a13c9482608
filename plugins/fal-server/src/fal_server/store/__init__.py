"""
What the server keeps: accounts, secrets, logs, files, revisions, runners, queued requests.
"""
