from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from transformers import T5Config, T5Model

from model.storage import StorageUnavailable, open_store
from tests.support.encoders import VOCABULARY, write_tiny_bert
from trainer.architectures.transformer import base_model
from trainer.architectures.transformer.fit import base_of
from trainer.config.settings import Config
from trainer.errors import ConfigRejected


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return write_tiny_bert(tmp_path / "bert")


def load(name: str, scratch: Path, *, max_length: int = 32) -> base_model.BaseModel:
    return base_model.load(name, max_length=max_length, scratch=scratch)


@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/"])
def test_a_folder_is_a_base_model(form: str, bert: Path, tmp_path: Path) -> None:
    name = form.format(bert)
    base = load(name, tmp_path)
    assert (base.name, base.max_length) == (name, 32)


def test_a_base_model_in_s3_is_fetched(bert: Path, tmp_path: Path, s3_bucket: str) -> None:
    store = open_store(f"{s3_bucket}encoders/bert/")
    for path in bert.iterdir():
        store.upload(path, path.name)
    base = load(store.uri, tmp_path / "scratch")
    assert base.network.config.hidden_size == 32  # type: ignore[union-attr]


def test_minilm_comes_from_its_package(tmp_path: Path) -> None:
    assert (Path(base_model.locate("minilm", scratch=tmp_path)) / "model.safetensors").is_file()


def test_a_name_of_the_hub_is_left_to_the_hub(tmp_path: Path) -> None:
    assert base_model.locate("sentence-transformers/all-MiniLM-L6-v2", scratch=tmp_path).startswith("sentence-")


def test_the_encoder_cuts_and_does_not_pad(bert: Path, tmp_path: Path) -> None:
    encodings = load(str(bert), tmp_path, max_length=8).text_tokenizer().encode(["purr", "purr " * 20])
    assert [len(each.ids) for each in encodings] == [3, 8]


def test_the_pooler_is_not_trained(bert: Path, tmp_path: Path) -> None:
    trained = [name for name, each in load(str(bert), tmp_path).network.named_parameters() if each.requires_grad]
    assert trained
    assert not [name for name in trained if "pooler" in name]


def test_a_model_with_a_decoder_is_refused(bert: Path, tmp_path: Path) -> None:
    config = T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)  # type: ignore[no-untyped-call]
    (bert / "config.json").unlink()
    T5Model(config).save_pretrained(bert)
    with pytest.raises(ConfigRejected, match="t5 is an encoder-decoder model"):
        load(str(bert), tmp_path)


def test_a_model_that_reads_no_words_is_refused(bert: Path, tmp_path: Path) -> None:
    (bert / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ConfigRejected, match="clip has no token embeddings"):
        load(str(bert), tmp_path)


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    short = write_tiny_bert(tmp_path / "short", embeddings=len(VOCABULARY) - 2)
    with pytest.raises(ConfigRejected) as refused:
        load(str(short), tmp_path)
    last = len(VOCABULARY) - 1
    assert f"its tokenizer has ids up to {last}, but its model only {last - 1} embeddings" in str(refused.value)


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        pytest.param("config.json", "there is no config.json in that folder", id="not-a-model"),
        pytest.param("model.safetensors", "its model cannot be read", id="no-weights"),
        pytest.param("tokenizer.json", "its tokenizer cannot be read", id="no-tokenizer"),
    ],
)
def test_what_is_not_a_whole_base_model_is_refused(lost: str, reason: str, bert: Path, tmp_path: Path) -> None:
    (bert / lost).unlink()
    with pytest.raises(ConfigRejected) as refused:
        load(str(bert), tmp_path)
    assert str(refused.value).startswith(f"training.base_model is {str(bert)!r}: ")
    assert reason in str(refused.value)


def test_a_tokenizer_without_a_fast_version_is_refused(bert: Path, tmp_path: Path) -> None:
    for path in bert.glob("*token*"):
        path.unlink()
    # CANINE reads characters; its tokenizer exists in Python only.
    (bert / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')
    with pytest.raises(ConfigRejected, match="has no fast version"):
        load(str(bert), tmp_path)


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        pytest.param("config.json", {"model_type": "theirs", "auto_map": {"AutoConfig": "code.Theirs"}}, id="model"),
        pytest.param(
            "tokenizer_config.json",
            {"tokenizer_class": "Theirs", "auto_map": {"AutoTokenizer": ["code.Theirs", "code.Theirs"]}},
            id="tokenizer",
        ),
    ],
)
def test_a_base_model_that_brings_its_own_code_is_refused_without_a_prompt(
    file: str, settings: dict[str, object], bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = json.loads((bert / file).read_text()) if (bert / file).exists() else {}
    (bert / file).write_text(json.dumps(known | settings))
    (bert / "code.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nclass Theirs: ...")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))  # who is asked says yes

    with pytest.raises(ConfigRejected, match=r"needs its own program code, which is never run"):
        load(str(bert), tmp_path / "scratch")

    assert not (tmp_path / "executed").exists()


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigRejected, match=r"there is no config\.json"):
        load(str(tmp_path / "nothing"), tmp_path)


def test_an_unreachable_hub_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_model, "HF_HUB_OFFLINE", False)
    error = OSError("We couldn't connect to 'https://huggingface.co' to load the files.\nCheck your connection.")
    with pytest.raises(StorageUnavailable) as unavailable, base_model._read("owner/name", "model"):
        raise error
    assert "Check" not in str(unavailable.value)


def test_no_base_model_is_refused_with_the_field(tmp_path: Path) -> None:
    with pytest.raises(ConfigRejected, match=r"training\.base_model is not set"):
        base_of(Config(), scratch=tmp_path)


def test_weights_in_the_old_format_are_read_without_running_what_is_in_them(bert: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(bert / "model.safetensors"), bert / "pytorch_model.bin")
    (bert / "model.safetensors").unlink()
    shutil.copytree(bert, tmp_path / "old")
    assert load(str(tmp_path / "old"), tmp_path).max_length == 32
