"""What a child does, by kind of unit: storage to local files, a modality, local files to storage. No database here."""

# exit status in place of a last word: the bucket failed the child, another attempt may do better
STORAGE_LOST = 74
