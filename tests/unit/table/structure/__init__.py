"""Rules that hold in tables: found, stated, kept."""
