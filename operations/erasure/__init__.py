"""
The erasure of one subject, which a person may request: all rows about it lose their content, and the rows stay.

The ledger needs the rest: ids, types, times, outcomes, amounts, and the digest of each payload, by which a copy of it is still
recognized.
"""
