"""Words for a picture: which of the captions that a model knows fits best (CLIP, Radford et al. 2021)."""
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from asset3d.errors import InputError
from asset3d.models import folder_of, part_folder
from asset3d.prior.base import at_size, part, pretrained

PART, CAPTIONS = "captions", "captions.txt"


class Captioner:
    """An image encoder and a text encoder of one space, and captions, one per line, to choose from."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu"):
        from transformers import AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

        place = part_folder(folder, PART)
        if place is None:
            raise InputError(f"model {folder}: has no {PART}/{CAPTIONS} to choose from; give a prompt")
        self.captions = part(folder, PART, lambda path: (path / CAPTIONS).read_text("utf-8")).splitlines()
        self.image_encoder = pretrained(folder, "image_encoder", CLIPVisionModelWithProjection).eval().to(device)
        text_encoder = pretrained(folder, "text_encoder", CLIPTextModelWithProjection).eval().to(device)
        tokenizer = part(folder, "tokenizer", lambda place: AutoTokenizer.from_pretrained(place, local_files_only=True))
        tokens = tokenizer(self.captions, padding="max_length", truncation=True, return_tensors="pt").to(device)
        with torch.no_grad():
            self.embeddings = normalize(text_encoder(**tokens).text_embeds, dim=-1)

    @torch.no_grad()
    def best(self, image: Float[Tensor, "H W 3"], count: int = 1) -> list[str]:
        """The captions that fit an image best, the best one first. The object is in front of white."""
        pixels = at_size(image[None], self.image_encoder.config.image_size).permute(0, 3, 1, 2) * 2 - 1
        embedding = normalize(self.image_encoder(pixel_values=pixels).image_embeds, dim=-1)
        order = (self.embeddings @ embedding[0]).argsort(descending=True, stable=True)
        return [self.captions[k] for k in order[:count].tolist()]


def best_caption(image: Float[Tensor, "H W 3"], model: str = "toy-autoencoder") -> str:
    """What a prompt is when none is given."""
    return Captioner(folder_of(model), image.device).best(image)[0]
