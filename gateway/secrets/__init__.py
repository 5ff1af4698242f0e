"""The proofs of a caller's identity (tokens, client certificates), and the uses of our secrets."""
