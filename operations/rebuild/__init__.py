"""A lost table comes back: made anew beside the live one from the log, compared, and put right in one transaction."""
