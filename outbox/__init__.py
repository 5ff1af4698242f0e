"""
The guarantee of this package: an event appended in a transaction reaches Kafka at least once, in order per aggregate, and can
always be found.

`append` writes events in the caller's transaction, `relay` carries them to Kafka, `partitions` creates days ahead and drops
old ones.
"""
