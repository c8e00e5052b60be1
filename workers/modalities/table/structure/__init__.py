"""Rules that hold in a table: found or stated, taken out before the codec, put back after it. Numpy and Arrow alone."""

from workers.modalities.table.structure.asking import Translated
from workers.modalities.table.structure.structure import Structure

__all__ = ["Structure", "Translated"]
