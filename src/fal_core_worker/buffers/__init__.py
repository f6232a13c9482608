"""Buffers: values of libraries whose memory travels beside their pickle."""
