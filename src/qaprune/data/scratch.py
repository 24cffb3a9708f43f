"""From-scratch encoders: a small real BERT or RoBERTa with a tokenizer trained on the corpus.

The folder that `build_encoder` writes is an ordinary Hugging Face checkpoint; nothing later can tell it
from a downloaded one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from qaprune.errors import InputError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

ARCHITECTURES = ("bert", "roberta")
BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
EMBEDDING_STD = 0.02
POSITION_STD = 0.08
POSITION_BASE = 200.0  # longest wave, in tokens / 2 pi: windows here are short
UNTRAINED_VOCABULARY = 4000
"""Learning 30,000 word pieces from a small corpus takes long and changes no timing."""
ROBERTA_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def build_encoder(
    architecture: str,
    texts: Iterable[str],
    out: Path,
    seed: int,
    vocab_size: int,
    layers: int,
    hidden: int,
    heads: int,
    intermediate: int,
    max_positions: int,
    weights: bool = True,
) -> None:
    """Train a tokenizer on the texts, initialise an encoder by seed, and write both to `out`.

    `max_positions` is the longest input in tokens; RoBERTa's position table has two rows more, because its
    positions start behind the padding id. Without `weights` only the config is written, with an embedding
    row for each of `vocab_size` tokens whether or not the texts hold that many: such an encoder is timed,
    not trained.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(f"architecture: expected one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
    if hidden % heads:
        raise InputError(f"heads: expected a divisor of the hidden size {hidden}, got {heads}")
    import torch
    from transformers import AutoModel

    texts = list(texts)
    if not any(text.strip() for text in texts):
        raise InputError("texts: expected text to train a tokenizer on, got none")
    make_tokenizer = bert_tokenizer if architecture == "bert" else roberta_tokenizer
    learned = vocab_size if weights else min(vocab_size, UNTRAINED_VOCABULARY)
    tokenizer = make_tokenizer(texts, learned, max_positions)
    shape = {
        "vocab_size": len(tokenizer) if weights else vocab_size,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": hidden**-0.5,
    }
    config = _config(architecture, tokenizer, shape, max_positions)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(out)
    if not weights:
        config.save_pretrained(out)
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(config, dtype=torch.float32, add_pooling_layer=False)
        _initialise_embeddings(model)
    model.save_pretrained(out)


def _initialise_embeddings(model: PreTrainedModel) -> None:
    """Small word vectors and, four times their size, sinusoidal positions.

    Together with matrices that keep the size of their input (`initializer_range` above) this lets a narrow
    encoder find its neighbours from the first steps on: it saves more than half of the teacher's training.
    All of it is trained on as usual.
    """
    import torch

    table = model.embeddings.position_embeddings.weight
    rows, width = table.shape
    angles = torch.arange(rows)[:, None] * POSITION_BASE ** (-torch.arange(0, width, 2) / width)
    with torch.no_grad():
        for name, embedding in model.embeddings.named_parameters():
            if name.endswith("embeddings.weight"):
                embedding.mul_(EMBEDDING_STD / model.config.initializer_range)
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(rows, width)
        table.copy_(waves * POSITION_STD * 2**0.5)


def _config(
    architecture: str, tokenizer: PreTrainedTokenizerBase, shape: dict[str, int], max_positions: int
) -> PretrainedConfig:
    from transformers import BertConfig, RobertaConfig

    if architecture == "bert":
        return BertConfig(**shape, max_position_embeddings=max_positions, type_vocab_size=2)
    return RobertaConfig(
        **shape,
        max_position_embeddings=max_positions + tokenizer.pad_token_id + 1,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def bert_tokenizer(texts: list[str], vocab_size: int, max_length: int) -> PreTrainedTokenizerBase:
    """A lower-casing WordPiece tokenizer: [CLS] question [SEP] context [SEP], segments 0 and 1."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertTokenizerFast

    def untrained(vocab: dict[str, int] | None) -> Tokenizer:
        core = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
        core.normalizer = normalizers.BertNormalizer(lowercase=True)
        core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        core.decoder = decoders.WordPiece(prefix="##")
        return core

    # The trainer numbers the "##x" letters in the order of a hash table, which differs from run to run, and
    # breaks ties by number. Naming them as special tokens fixes their numbers; only the vocabulary is kept.
    learner = untrained(None)
    letters = sorted(
        {letter for text in texts for letter in learner.normalizer.normalize_str(text)} - {" "}
    )
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*BERT_SPECIAL, *(f"##{letter}" for letter in letters)],
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    core = untrained(learner.get_vocab())
    core.post_processor = processors.BertProcessing(
        ("[SEP]", core.token_to_id("[SEP]")), ("[CLS]", core.token_to_id("[CLS]"))
    )
    return BertTokenizerFast(tokenizer_object=core, model_max_length=max_length, do_lower_case=True)


def roberta_tokenizer(texts: list[str], vocab_size: int, max_length: int) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer: <s> question </s></s> context </s>, no segments, padding id 1."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import RobertaTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(ROBERTA_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    core.post_processor = processors.RobertaProcessing(
        ("</s>", core.token_to_id("</s>")), ("<s>", core.token_to_id("<s>")), add_prefix_space=False
    )
    return RobertaTokenizerFast(tokenizer_object=core, model_max_length=max_length)
