"""What a child does, by kind of unit: storage to local files, a modality, local files to storage. No database here."""
