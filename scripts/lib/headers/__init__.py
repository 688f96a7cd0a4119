"""The headers of products: keywords, times, world coordinates; what a cube tells of its planes."""
