"""The endpoints that operators have added, by `provider/id`; `projections/endpoints.py` opens their `sealed` values."""

from projections.sealed_tables import sealed_table

endpoints = sealed_table("endpoints")
