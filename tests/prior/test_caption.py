"""The captioner chooses among the captions of its model."""
import pytest
import tiny_models
import torch
from asset3d.errors import InputError
from asset3d.prior._caption import CAPTIONS, PART, Captioner
from asset3d.train.autoencoder import tokenizer_of


@pytest.fixture()
def folder(tmp_path):
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    tokenizer = tokenizer_of(("a", "red", "blue", "mug", "chair"))
    text = tiny_models.seeded(lambda: CLIPTextModelWithProjection(CLIPTextConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, vocab_size=len(tokenizer),
        projection_dim=tiny_models.WIDTH, max_position_embeddings=32, bos_token_id=2, eos_token_id=3, pad_token_id=0)))
    parts = {"image_encoder": tiny_models.image_encoder(), "text_encoder": text, "tokenizer": tokenizer}
    for name, part in parts.items():
        part.save_pretrained(tmp_path / name)
    (tmp_path / PART).mkdir()
    (tmp_path / PART / CAPTIONS).write_text("a red mug\na blue chair\na mug\n", encoding="utf-8")
    return tmp_path


def test_the_best_captions_come_in_order_and_are_the_same_again(folder):
    image = torch.rand(48, 48, 3, generator=torch.Generator().manual_seed(0))
    every = Captioner(folder).best(image, 3)
    assert sorted(every) == ["a blue chair", "a mug", "a red mug"]
    assert Captioner(folder).best(image) == every[:1]


def test_a_model_without_captions_asks_for_a_prompt(folder):
    (folder / PART / CAPTIONS).unlink()
    (folder / PART).rmdir()
    with pytest.raises(InputError, match="give a prompt"):
        Captioner(folder)
