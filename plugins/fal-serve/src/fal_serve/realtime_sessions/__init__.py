"""Sessions of realtime endpoints: messages over one websocket."""
