"""The endpoints of providers that operators have added, by `provider/id`; `projections/endpoints.py` opens what is `sealed`."""

from projections.sealed_tables import sealed_table

endpoints = sealed_table("endpoints")
