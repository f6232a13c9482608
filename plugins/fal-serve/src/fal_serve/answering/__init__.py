"""Everything between a request and its response, around the handler."""
