"""The proofs of who calls: tokens and client certificates; and the use of our secrets."""
