"""What a provider says that payments and their kin are now, beside what we have of them; and how the difference is mended."""
