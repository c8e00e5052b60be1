"""Where boxes of places end: on a coarse grid, at no row's own coordinates, and within the column's bounds."""

import json

import numpy as np
import pyarrow as pa

from workers.modalities.table.places import Place

RNG = np.random.default_rng(8)
N = 4_000


def fitted(lat: np.ndarray, lon: np.ndarray) -> Place:
    ends = [{"minimum": float(side.min()), "maximum": float(side.max())} for side in (lat, lon)]
    common = {"type": "float", "arrow": "double", "decimals": 6}
    pair = ({"name": "lat"} | common | ends[0], {"name": "lon"} | common | ends[1])
    return Place.fit([pa.array(lat), pa.array(lon)], pair)


def test_no_rows_own_coordinates_stand_in_the_model() -> None:
    lat, lon = np.round(RNG.normal(48, 3, N), 6), np.round(RNG.normal(11, 5, N), 6)
    place = fitted(lat, lon)
    saved = json.loads(json.dumps(place.to_json()))
    ends = np.array([box for box in saved["boxes"] if box[0] is not None])
    for own, side in ((lat, ends[:, :2]), (lon, ends[:, 2:])):
        inner = side[(side > own.min()) & (side < own.max())]  # the schema shows the bounds
        assert len(inner) > 100
        assert not np.isin(inner, own).any()
        assert all(len(repr(end)) <= 8 for end in inner.tolist()), "few digits"
    leaf = place.encode([pa.array(lat), pa.array(lon)])
    box = place.boxes[leaf[:, 0] * place.together + leaf[:, 1]]
    assert ((box[:, 0] <= lat) & (lat <= box[:, 1]) & (box[:, 2] <= lon) & (lon <= box[:, 3])).all()


def test_places_are_made_within_the_columns_bounds() -> None:
    lat, lon = np.round(RNG.uniform(48, 49, N), 6), np.round(RNG.uniform(11, 12, N), 6)
    place = fitted(lat, lon)
    codes = np.repeat(place.encode([pa.array(lat), pa.array(lon)]), 10, axis=0)
    for made, real in zip(place.decode(codes, RNG), (lat, lon), strict=True):
        assert real.min() <= min(made.to_pylist())
        assert max(made.to_pylist()) <= real.max()


def test_spots_that_many_rows_share_stay() -> None:
    spots = np.array([[40.639751, -73.778925], [40.777245, -73.872608], [40.6925, -74.168667]])
    lat, lon = spots[RNG.integers(0, 3, N)].T
    place = fitted(lat, lon)
    made = place.decode(place.encode([pa.array(lat), pa.array(lon)]), RNG)
    assert made[0].to_pylist() == lat.tolist()
    assert made[1].to_pylist() == lon.tolist()
