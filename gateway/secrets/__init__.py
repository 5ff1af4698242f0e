"""Who calls: tokens, client certificates, and which secrets are in use."""
