"""Tables: rows and columns of numbers, categories, dates and missing values."""
