"""
The promise: what is appended in a transaction reaches Kafka at least once, in order per aggregate, and can be found at any time.

`append` writes events in the caller's transaction, the `relay` carries them to Kafka, `partitions` makes days ahead and drops old ones.
"""
