"""Plate solving: from a frame's pixels and a star catalogue to the frame's world coordinates."""
