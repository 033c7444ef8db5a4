"""A stream in chunks: each is answered, and its state goes back to the client."""
