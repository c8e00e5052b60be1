"""Everything that needs a GPU or reads untrusted bytes."""
