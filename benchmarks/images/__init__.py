"""Generated pictures beside those of a DCGAN and of another loss, on the same real sets, splits and seconds."""
