from __future__ import annotations

from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import AutoConfig, AutoModel

from model.classifier import OnnxModel, TextTokenizer, TokenizedText
from model.manifest import Precision, Task
from tests.support.encoders import pet_examples, training, write_tiny_bert
from trainer.architectures.parity import Tolerance, check_parity
from trainer.architectures.transformer import base_model, export, quantization
from trainer.architectures.transformer import fit as transformer
from trainer.architectures.transformer.callbacks import EvenlySpaced
from trainer.architectures.transformer.dataset import TokenizedDataset
from trainer.architectures.transformer.fine_tuning import parameter_groups, total_steps
from trainer.architectures.transformer.losses import loss_function, rarity_weights
from trainer.architectures.transformer.network import PooledClassifier
from trainer.architectures.transformer.sampler import LengthGroupedSampler
from trainer.architectures.transformer.validation import micro_f1_at_best
from trainer.attempt import Attempt
from trainer.config.settings import BalanceConfig
from trainer.errors import ConfigRejected


def token_ids(*, task: Task = Task.SINGLE_LABEL) -> TokenizedDataset:
    """Three texts of 2, 4 and 1 tokens."""
    targets = csr_matrix(np.array([[1, 0], [0, 1], [1, 0]], np.uint8))
    return TokenizedDataset(np.arange(1, 8, dtype=np.int32), np.array([2, 6, 7]), targets, task)


def test_a_batch_is_padded_to_its_longest_text() -> None:
    batch = token_ids().batch([0, 1])
    assert batch["input_ids"].tolist() == [[1, 2, 0, 0], [3, 4, 5, 6]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        pytest.param(Task.SINGLE_LABEL, [1, 0], id="the-label's-column"),
        pytest.param(Task.MULTI_LABEL, [[0.0, 1.0], [1.0, 0.0]], id="a-number-for-each-label"),
    ],
)
def test_a_batch_has_its_texts_labels(task: Task, expected: object) -> None:
    assert token_ids(task=task).batch([1, 2])["labels"].tolist() == expected


def test_the_longest_text_can_stand_first() -> None:
    ordered = token_ids().longest_first()
    assert [ordered.text(at).tolist() for at in range(3)] == [[3, 4, 5, 6], [1, 2], [7]]
    assert ordered.targets.toarray().tolist() == [[0, 1], [1, 0], [1, 0]]


def order_of(epoch: int, *, seed: int = 0) -> list[int]:
    lengths = np.random.default_rng(7).integers(1, 100, 1001)
    order = LengthGroupedSampler(lengths, batch_size=8, seed=seed)
    order.set_epoch(epoch)
    return list(order)


@pytest.mark.parametrize(("texts", "processes"), [(1000, 2), (1001, 2), (1003, 2), (1002, 4), (7, 2), (1, 2)])
def test_processes_see_what_one_would_each_its_share_of_every_batch(texts: int, processes: int) -> None:
    lengths = np.random.default_rng(7).integers(1, 100, texts)
    alone = list(LengthGroupedSampler(lengths, batch_size=8, seed=0))
    shares = [LengthGroupedSampler(lengths, batch_size=8, seed=0, rank=rank, world_size=processes) for rank in range(processes)]
    size = 8 // processes
    for start in range(0, texts - texts % 8, 8):
        parts = [list(each)[start // processes : start // processes + size] for each in shares]
        assert sorted(chain.from_iterable(parts)) == sorted(alone[start : start + 8])
    seen = list(chain.from_iterable(shares))
    assert len(seen) == len(set(seen)) == (texts if texts % 8 >= processes or texts % 8 == 0 else texts - texts % 8)
    assert [len(each) for each in shares] == [len(list(each)) for each in shares]


def test_every_text_is_seen_once_an_epoch() -> None:
    assert sorted(order_of(0)) == list(range(1001))


def test_the_order_follows_from_seed_and_epoch() -> None:
    assert order_of(3) == order_of(3)
    assert order_of(3) != order_of(4)
    assert order_of(3) != order_of(3, seed=1)


def test_texts_of_a_batch_are_of_similar_length() -> None:
    lengths = np.random.default_rng(7).integers(1, 100, 1001)
    batches = [lengths[order_of(0)[at : at + 8]] for at in range(0, 1000, 8)]
    assert np.mean([np.ptp(each) for each in batches]) < 10


def test_the_loss_is_the_mean_over_the_decisions_of_a_step() -> None:
    logits, train = torch.tensor([[2.0, -1.0], [0.5, 0.25]]), token_ids(task=Task.MULTI_LABEL)
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = loss_function(train.targets, train.task, BalanceConfig())(SimpleNamespace(logits=logits), labels)
    assert found.item() == pytest.approx(functional.binary_cross_entropy_with_logits(logits, labels).item())


def test_two_halves_of_a_step_have_the_loss_of_the_whole() -> None:
    logits, labels = torch.tensor([[2.0, -1.0], [0.5, 0.25]]), torch.tensor([0, 1])
    loss = loss_function(token_ids().targets, Task.SINGLE_LABEL, BalanceConfig())
    halves = [loss(SimpleNamespace(logits=logits[at : at + 1]), labels[at : at + 1], torch.tensor(2)) for at in (0, 1)]
    assert sum(halves).item() == pytest.approx(loss(SimpleNamespace(logits=logits), labels).item())  # type: ignore[union-attr]


def test_a_rare_label_weighs_more_by_the_root_of_its_rarity() -> None:
    targets = csr_matrix(np.repeat(np.eye(2, dtype=np.uint8), [100, 1], axis=0))
    weights = rarity_weights(targets)
    assert (weights[1] / weights[0]).item() == pytest.approx(10)


def test_the_head_has_a_learning_rate_of_its_own_and_biases_do_not_decay(tmp_path: Path) -> None:
    settings = training("minilm", learning_rate=1e-4, head_learning_rate=1e-2, weight_decay=0.1).training
    encoder = base_model.load(str(write_tiny_bert(tmp_path / "bert")), max_length=8, scratch=tmp_path).network
    network = PooledClassifier(encoder, torch.zeros(5), dropout=0.1)
    groups = parameter_groups(network, settings)
    assert [(each["lr"], each["weight_decay"]) for each in groups] == [(1e-4, 0.1), (1e-4, 0), (1e-2, 0.1), (1e-2, 0)]
    assert [[tuple(part.shape) for part in each["params"]] for each in groups[2:]] == [[(5, 32)], [(5,)]]


@pytest.mark.parametrize(
    ("texts", "epochs", "expected"),
    [pytest.param(33, 1, 2, id="a-rest-is-a-step"), pytest.param(64, 0.5, 1, id="half-an-epoch")],
)
def test_steps_are_counted_as_the_loop_does(texts: int, epochs: float, expected: int) -> None:
    settings = training("minilm", batch_size=32, num_epochs=epochs).training
    assert total_steps(texts, settings) == expected


def test_the_last_step_is_always_evaluated() -> None:
    spaced, seen = EvenlySpaced(309, 2), []
    for step in range(1, 310):
        control = SimpleNamespace(should_evaluate=False, should_save=False, should_log=False)
        spaced.on_step_end(None, state_of(step, evaluated=seen), control)  # type: ignore[arg-type]
        seen += [step] if control.should_evaluate and control.should_save else []
    assert seen == [154, 309]


def test_an_evaluation_that_was_abandoned_is_made_up_for_at_the_next_step() -> None:
    spaced, seen = EvenlySpaced(309, 2), []
    for step in range(155, 310):  # the attempt before was stopped while it evaluated step 154
        control = SimpleNamespace(should_evaluate=False, should_save=False, should_log=False)
        spaced.on_step_end(None, state_of(step, evaluated=seen), control)  # type: ignore[arg-type]
        seen += [step] if control.should_evaluate else []
    assert seen == [155, 309]


def state_of(step: int, *, evaluated: list[int]) -> SimpleNamespace:
    return SimpleNamespace(global_step=step, log_history=[{"step": each, "eval_micro_f1": 0.5} for each in evaluated])


def test_micro_f1_gives_every_text_a_label() -> None:
    logits = np.array([[3.0, -3.0], [-3.0, -2.9], [-3.0, 3.0]], np.float32)
    targets = csr_matrix(np.array([[1, 0], [0, 1], [0, 1]], np.uint8))
    assert micro_f1_at_best(logits, targets, Task.MULTI_LABEL) == 1.0
    assert micro_f1_at_best(logits, targets, Task.SINGLE_LABEL) == 1.0


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A tiny encoder's fp32 graph."""
    torch.set_num_threads(1)
    examples = pet_examples(tmp_path, count=32, task=Task.SINGLE_LABEL)
    config = training(write_tiny_bert(tmp_path / "bert"), num_epochs=1)
    transformer.train_and_export(examples, examples, config, folder=tmp_path / "fitted", attempt=Attempt())
    return tmp_path / "fitted"


@pytest.mark.parametrize(
    ("int8_score", "expected"),
    [
        pytest.param(0.7951, Precision.INT8, id="costs-less-than-0.005"),
        pytest.param(0.7949, Precision.FP32, id="costs-more"),
    ],
)
def test_int8_is_kept_only_where_it_is_harmless(
    int8_score: float, expected: Precision, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.8, int8_score])
    monkeypatch.setattr(quantization, "micro_f1_of", lambda *_: next(scores))
    before = (exported / "model.onnx").read_bytes()
    assert quantization.quantize_if_harmless(exported, None, None, threads=1) is expected  # type: ignore[arg-type]
    assert ((exported / "model.onnx").read_bytes() == before) is (expected is Precision.FP32)
    assert not (exported / quantization.QUANTIZED).exists()


KINDS: dict[str, dict[str, object]] = {
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "roberta": {"pad_token_id": 1},
    "electra": {"embedding_size": 16},
    "mpnet": {"pad_token_id": 1},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "modernbert": {"pad_token_id": 0, "global_attn_every_n_layers": 2},
}
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
}


@pytest.mark.parametrize("kind", KINDS)
def test_encoders_of_many_kinds_are_exported_with_two_inputs(kind: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    encoder = AutoModel.from_config(AutoConfig.for_model(kind, **SIZES | KINDS[kind]))  # type: ignore[no-untyped-call]
    network = PooledClassifier(encoder, torch.zeros(5), dropout=0.1)
    export.export_graph(network, tmp_path, max_length=32)
    tokenizer = Tokenizer.from_file(str(write_tiny_bert(tmp_path / "bert") / "tokenizer.json"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    texts = ["purr the", "swim " * 9, "a", "purr " * 40]
    logits = export.logits_of(network, TextTokenizer(tokenizer, 32), texts)
    assert check_parity(tmp_path, texts, logits, max_length=32, tolerance=Tolerance(absolute=1e-5)) < 1e-5
    assert OnnxModel(tmp_path / "model.onnx").label_count == 5


@pytest.mark.parametrize("kind", KINDS)
def test_encoders_of_many_kinds_are_quantized_with_embeddings_of_16_bits(kind: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    encoder = AutoModel.from_config(AutoConfig.for_model(kind, **SIZES | KINDS[kind]))  # type: ignore[no-untyped-call]
    export.export_graph(PooledClassifier(encoder, torch.zeros(5), dropout=0.1), tmp_path, max_length=32)
    quantization.quantize(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    texts = [TokenizedText([2, 9, 10, 3], truncated=False), TokenizedText([2, *range(5, 25), 3], truncated=False)]
    full, cheap = (OnnxModel(tmp_path / name).logits(texts) for name in ("model.onnx", "int8.onnx"))
    weights = onnx.load(tmp_path / "int8.onnx").graph.initializer
    words = {each.data_type for each in weights if len(each.dims) == 2 and each.dims[0] == SIZES["vocab_size"]}

    assert np.abs(full - cheap).max() < 0.1 * np.abs(full).max()
    assert words & {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16} == {onnx.TensorProto.FLOAT16}


def test_a_graph_that_is_not_the_network_is_found_before_it_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = pet_examples(tmp_path, count=32, task=Task.SINGLE_LABEL)
    config = training(write_tiny_bert(tmp_path / "bert"), num_epochs=1)
    monkeypatch.setattr(transformer, "logits_of", lambda *given: export.logits_of(*given) + 0.01)
    with pytest.raises(ConfigRejected, match=r"differs from the fitted model by 0\.01"):
        transformer.train_and_export(examples, examples, config, folder=tmp_path / "fitted", attempt=Attempt())
