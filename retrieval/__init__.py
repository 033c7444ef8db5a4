"""Finding moments: files to vectors in an index, and a text, a picture or a sound to the moments like it."""
