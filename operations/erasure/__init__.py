"""
The erasure of one subject, as a person may ask for it: everything that is held of it loses its content and keeps its place.

What stays is what the books need: ids, types, times, outcomes, amounts, and the digest of each payload, by which a copy of it is
still known as one.
"""
