"""
The ports through which applications are called: at once, queued, and over a websocket.
"""
