"""The headers of products: keywords, times, world coordinates; METADATA of cubes."""
