"""The latent tools of one generation, put to work: options and samples' latents in, pictures out."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.errors import Rejected
from workers.modalities.images import latent as tool
from workers.modalities.images.codec import Codec
from workers.modalities.images.directions import Directions
from workers.modalities.images.networks import Generator
from workers.modalities.images.options import Edit, ImageGenerateOptions, Interpolation, Sheet
from workers.modalities.images.painting import blocks, decoded, repeatable
from workers.modalities.images.spec import label_index

First = Callable[[int], tuple[Tensor, int]]  # seed -> latent (64,) and class of its first sample


class Tools:
    """`first` gives a seed's first sample under the conditions of the generation. Raises Rejected."""

    def __init__(
        self,
        generator: Generator,
        codec: Codec,
        fitted: Directions | None,
        options: ImageGenerateOptions,
        first: First,
    ) -> None:
        self.generator, self.codec, self.options, self.first = generator, codec, options, cache(first)
        self.device = generator.start.weight.device
        self.found = tool.directions(generator)[0]
        self.looks = _fitted(fitted, options.edit)

    @property
    def idle(self) -> bool:
        """Whether samples stay what they are."""
        return not self.options.model_dump(exclude_defaults=True)

    @property
    def labelled(self) -> bool:
        """Whether each picture is still of the class that was asked for."""
        edit = self.options.edit
        return (
            self.options.interpolate is None and self.options.sheet is None and (edit is None or edit.towards is None)
        )

    def classes(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of the samples: what is coarse brings its class along."""
        mix = self.options.mix
        return labels if mix is None or mix.coarse is None else np.full_like(labels, self.first(mix.coarse)[1])

    @torch.no_grad()
    def pictures(
        self, latent: Tensor, labels: NDArray[np.int64], index: NDArray[np.int64], seed: int
    ) -> NDArray[np.uint8]:
        """The pictures (n, height, width, channels) of samples `index` of a seed, whose own latents and labels these
        are; each the same whatever the others are."""

        def painted(rows: Tensor) -> Tensor:
            some = rows.numpy()
            with repeatable():
                return self.generator.paint_from(self._begun(latent[rows], labels[some], index[some], seed))

        return decoded(map(painted, blocks(len(latent), self.codec, self.device.type)), len(latent), self.codec)

    @torch.no_grad()
    def painted(self, begun: Tensor) -> NDArray[np.uint8]:
        """The pictures that begin so; each the same whatever the others are."""

        def painted(rows: Tensor) -> Tensor:
            with repeatable():
                return self.generator.paint_from(begun[rows.to(self.device)])

        return decoded(map(painted, blocks(len(begun), self.codec, self.device.type)), len(begun), self.codec)

    def _begun(self, latent: Tensor, labels: NDArray[np.int64], index: NDArray[np.int64], seed: int) -> Tensor:
        if self.options.interpolate is not None:
            return self._film(self.options.interpolate, index, seed)
        if self.options.sheet is not None:
            return self._sheet(self.options.sheet, index, seed)
        return self.shaped(self.mixed(latent), labels)

    def mixed(self, latent: Tensor) -> Tensor:
        """Latents (n, 64) with their coarse or their fine part from the seeds that a mix names."""
        mix = self.options.mix
        if mix is None:
            return latent
        coarse = latent if mix.coarse is None else self.first(mix.coarse)[0].expand_as(latent)
        fine = latent if mix.fine is None else self.first(mix.fine)[0].expand_as(latent)
        return tool.mixed(coarse, fine, self.found, mix.split)

    def shaped(self, latent: Tensor, labels: NDArray[np.int64]) -> Tensor:
        """v of these latents and classes, truncated and edited."""
        condition = self.condition(labels)
        begun = self.generator.begin(latent.to(self.device), condition)
        if self.options.truncation < 1:
            begun = tool.truncated(self.generator, begun, condition, self.options.truncation)
        return self.edited(begun, condition)

    def edited(self, begun: Tensor, condition: Tensor | None) -> Tensor:
        """v moved as `edit` says."""
        edit = self.options.edit
        if edit is None:
            return begun
        if edit.direction is not None:
            return tool.moved(self.generator, begun, self.found[edit.direction], edit.strength)
        if self.looks is not None:
            return tool.moved(self.generator, begun, self.looks, edit.strength)
        target = self.class_of(edit.towards)
        if condition is None or target is None:
            raise Rejected("unknown_label", f"The model has no class {str(edit.towards)[:60]!r}.")
        return tool.into_class(self.generator, begun, condition, torch.full_like(condition, target), edit.strength)

    def condition(self, labels: NDArray[np.int64]) -> Tensor | None:
        found = self.codec.condition(labels)
        return None if found is None else found.to(self.device)

    def class_of(self, label: object) -> int | None:
        return label_index(self.codec.classes or [], label)

    def _film(self, film: Interpolation, index: NDArray[np.int64], seed: int) -> Tensor:
        """v of these frames: latents along great circles, classes along straight lines, each at its own pace."""
        firsts = [self.first(one) for one in film.seeds or [seed]]
        classes = [self.class_of(label) for label in film.labels]
        if None in classes:
            raise Rejected("unknown_label", "The model does not have all of the classes that the film passes through.")
        named = np.array(classes or [label for _, label in firsts], np.int64)
        latents = torch.stack([latent for latent, _ in firsts])
        one, other, way = _along(len(firsts), film, index)
        latent = tool.spherical(latents[one], latents[other], way)
        one, other, way = _along(len(named), film, index)
        return torch.lerp(self.shaped(latent, named[one]), self.shaped(latent, named[other]), way.to(self.device))

    def _sheet(self, sheet: Sheet, index: NDArray[np.int64], seed: int) -> Tensor:
        """v of one sample, moved along one direction after the other."""
        latent, label = self.first(seed)
        begun = self.shaped(latent[None].expand(len(index), -1), np.full(len(index), label, np.int64))
        strengths = torch.linspace(-sheet.strength, sheet.strength, sheet.steps)[index % sheet.steps]
        steps = (self.found @ tool.by_latent(self.generator).T.cpu())[index // sheet.steps]
        return begun + (strengths[:, None] * steps).to(self.device)


def _along(
    keys: int, film: Interpolation, index: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Tensor]:
    """For these frames: the keys on both sides, and how far each frame is from the one to the other (n, 1)."""
    plan = tool.schedule(keys, film.frames, film.loop)
    before, after, way = zip(*(plan[frame] for frame in index.tolist()), strict=True)
    return np.array(before), np.array(after), torch.tensor(way)[:, None]


def _fitted(fitted: Directions | None, edit: Edit | None) -> Tensor | None:
    """The direction that was fitted to what the edit names, if it names any. Raises Rejected."""
    if edit is None or edit.looks is None:
        return None
    found = fitted.of(str(edit.looks)) if fitted is not None else None
    if found is None:
        raise Rejected(
            "no_direction", f"No direction was fitted to {str(edit.looks)[:60]!r} when the model was trained."
        )
    return found
