"""The leads worker: what partners sent is delivered to their CRMs, until it is taken or given up, and every attempt is kept."""
