"""What strangers may send: small files of every kind that is allowed, ways to spoil them, bombs, and what they cost."""
