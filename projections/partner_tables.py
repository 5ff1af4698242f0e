"""The partners that operators have added; `projections/partner_store.py` opens their `sealed` values."""

from projections.sealed_tables import sealed_table

partners = sealed_table("partners")
