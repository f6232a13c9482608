"""
Who asks the service, and what can be asked about an account: credentials and operations.
"""
