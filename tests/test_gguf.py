"""GGUF files: what is written into one by the `gguf` package comes back, and SmolLM2 reads as it should."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import jax
import numpy as np
import pytest

from tests.random_checkpoint import byte_tokenizer
from tests.test_model_fixtures import FIXTURES, read
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.gguf_file import INTERLEAVED, GGUFSource
from ttt_jax.model.hf import config_from_hf, params_from_hf, tensor_shapes
from ttt_jax.model.io import ModelError, load_model, load_params
from ttt_jax.model.rope import inverse_frequencies, scale_rates
from ttt_jax.tokenizers.text import TextTokenizer

Q = gguf.GGMLQuantizationType
# Mistral's GGUF files are of architecture `llama`; a window is written where the model has one.
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def interleave(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of q or k from half-split order (x[i], x[i + n / 2]) to interleaved order (x[2i], x[2i + 1])."""
    out = np.empty_like(rows)
    for head in range(len(rows) // head_dim):
        for pair in range(head_dim // 2):
            for half in range(2):
                out[head * head_dim + 2 * pair + half] = rows[head * head_dim + half * (head_dim // 2) + pair]
    return out


def write_gguf(path: Path, hf: dict, tensors: dict[str, np.ndarray], kind=Q.F32, architecture: str = "llama") -> None:
    """A GGUF file of a checkpoint; matrices in `kind`."""
    config = config_from_hf(hf)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_rope_freq_base(config.rope.theta[0])
    writer.add_layer_norm_rms_eps(config.norm_eps)
    if config.sliding_window:
        writer.add_sliding_window(config.sliding_window)
    if config.rope.scaling and not config.rope.scaling.by_wavelength:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope.scaling.factor)
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        if module in TOP:
            ours = f"{TOP[module]}.{leaf}"
        else:
            _, _, layer, part = module.split(".", 3)
            ours = f"blk.{layer}.{NAMES[part]}.{leaf}"
            if architecture == "llama" and part in ("self_attn.q_proj", "self_attn.k_proj"):
                tensor = interleave(tensor, config.head_dim)
        of_matrix = kind if tensor.ndim == 2 else Q.F32
        writer.add_tensor(ours, gguf.quants.quantize(tensor.astype(np.float32), of_matrix), raw_dtype=of_matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(path: Path, tokenizer: TextTokenizer, before: str = "default", **special: int) -> None:
    """Rewrites a GGUF file of no tensors with a tokenizer in its metadata."""
    model = json.loads(tokenizer.core.to_str())["model"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(before)
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    writer.add_token_list(tokens)
    control = {token.content for token in tokenizer.core.get_added_tokens_decoder().values()}
    writer.add_token_types([3 if token in control else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token)
    writer.add_eos_token_id(tokenizer.eos_token)
    writer.add_chat_template(tokenizer.chat_template)
    for name, value in special.items():
        getattr(writer, f"add_{name}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def readable(hf: dict) -> bool:
    """GGUF knows one scaling of Llama 3.1 only, and windows on all layers or none."""
    config = config_from_hf(hf)
    scaling = config.rope.scaling
    return not (scaling and scaling.by_wavelength) and config.windowed_layers is None


@pytest.mark.parametrize("path", [p for p in FIXTURES if readable(read(p)[0])], ids=lambda path: path.stem)
def test_a_file_of_every_family_gives_the_logits_of_its_checkpoint(path: Path, tmp_path: Path) -> None:
    hf, tensors, tokens, expected = read(path)
    file = tmp_path / "model.gguf"
    write_gguf(file, hf, tensors, architecture=ARCHITECTURES[hf["model_type"]])
    config = GGUFSource(file).config
    assert config == config_from_hf(hf)
    params = load_params(file, config, np.float32)
    np.testing.assert_allclose(jax.jit(Decoder(config).apply)({"params": params}, tokens), expected, atol=1e-4, rtol=0)


LLAMA = {
    "model_type": "llama", "vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
}  # fmt: skip


def random_tensors(hf: dict, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {n: rng.normal(0, 1, s).astype(np.float32) for n, s in tensor_shapes(config_from_hf(hf)).items()}


@pytest.mark.parametrize(
    ("kind", "error"),
    [(Q.F32, 0), (Q.F16, 1e-3), (Q.BF16, 1e-2), (Q.Q8_0, 0.02), (Q.Q5_1, 0.1), (Q.Q4_1, 0.2), (Q.Q4_0, 0.3)],
    ids=lambda value: getattr(value, "name", None),
)
def test_every_kind_of_block_is_dequantised(kind, error: float, tmp_path: Path) -> None:
    tensors = random_tensors(LLAMA)
    write_gguf(tmp_path / "model.gguf", LLAMA, tensors, kind)
    config = config_from_hf(LLAMA)
    params = load_params(tmp_path / "model.gguf", config, np.float32)
    expected = params_from_hf(tensors, config)
    worst = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), params, expected)
    assert max(jax.tree.leaves(worst)) <= error * 4
    assert error == 0 or max(jax.tree.leaves(worst)) > 0


def test_divisors_of_the_rope_of_llama_3_become_its_scaling(tmp_path: Path) -> None:
    hf = {**LLAMA, "rope_theta": 500_000.0}
    hf["rope_scaling"] = {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    config = config_from_hf(hf)
    plain, _ = inverse_frequencies(config_from_hf({**hf, "rope_scaling": None}))
    divisors = (plain / scale_rates(plain, config.rope.scaling)).astype(np.float32)

    def write(name: str, divisors: np.ndarray) -> Path:
        writer = gguf.GGUFWriter(tmp_path / name, "llama")
        writer.add_embedding_length(64)
        writer.add_head_count(4)
        writer.add_feed_forward_length(96)
        writer.add_block_count(2)
        writer.add_head_count_kv(2)
        writer.add_rope_freq_base(500_000.0)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_tensor("rope_freqs.weight", divisors)
        writer.add_tensor("token_embd.weight", np.zeros((96, 64), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / name

    assert GGUFSource(write("good.gguf", divisors)).config == config
    with pytest.raises(ModelError, match=r"rope_freqs\.weight"):
        _ = GGUFSource(write("bad.gguf", divisors[::-1].copy())).config


def test_missing_tensors_and_other_architectures_are_refused_by_name(tmp_path: Path) -> None:
    tensors = random_tensors(LLAMA)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    write_gguf(tmp_path / "short.gguf", LLAMA, tensors)
    with pytest.raises(ModelError, match=r"missing model\.layers\.1\.mlp\.up_proj\.weight"):
        load_params(tmp_path / "short.gguf", config_from_hf(LLAMA), np.float32)
    write_gguf(tmp_path / "gemma.gguf", LLAMA, {}, architecture="gemma3")
    with pytest.raises(ModelError, match="'gemma3' is not one of llama"):
        GGUFSource(tmp_path / "gemma.gguf")
    (tmp_path / "none.gguf").write_bytes(b"GGML and nothing more")
    with pytest.raises(ModelError, match="not a GGUF file"):
        load_model(tmp_path / "none.gguf")


@pytest.mark.parametrize("before", ["default", "smollm", "llama-bpe", "qwen2"])
def test_a_tokenizer_is_rebuilt_from_the_metadata(before: str, tmp_path: Path) -> None:
    original = byte_tokenizer()
    add_tokenizer(tmp_path / "tokenizer.gguf", original, before, add_bos_token=before == "llama-bpe")
    rebuilt = TextTokenizer.load(tmp_path / "tokenizer.gguf")
    text = "In the end, 2024 <eos> thé thing: \n\t x\n\n🙂"
    assert rebuilt.decode(rebuilt.encode(text), special=True).removeprefix("<bos>") == text
    assert (rebuilt.encode("the")[0] == original.bos_token) == (before == "llama-bpe")
    assert rebuilt.encode("the", special=False) == original.encode("the")
    assert rebuilt.stop_tokens == original.stop_tokens
    assert rebuilt.chat_template == original.chat_template


def test_an_unknown_way_of_cutting_text_is_refused(tmp_path: Path) -> None:
    add_tokenizer(tmp_path / "tokenizer.gguf", byte_tokenizer(), "tekken")
    with pytest.raises(ModelError, match=r"tokenizer\.ggml\.pre 'tekken'"):
        TextTokenizer.load(tmp_path / "tokenizer.gguf")


@pytest.fixture(scope="module")
def smollm2():
    """(log-probabilities of the token after each of a text's, tokenizer); all texts in one compiled shape."""
    model, params, tokenizer = load_model("smollm2-135m-instruct")
    apply = jax.jit(model.apply)

    def next_token(text: str) -> tuple[list[int], np.ndarray]:
        tokens = tokenizer.encode(text)
        padded = np.zeros((1, 128), np.int32)
        padded[0, : len(tokens)] = tokens
        return tokens, np.asarray(jax.nn.log_softmax(apply({"params": params}, padded)[0, : len(tokens)]))

    return next_token, tokenizer


PARAGRAPH = (
    "Photosynthesis is the process by which plants use sunlight, water, and carbon dioxide to create oxygen and energy "
    "in the form of sugar. The process takes place in the leaves of plants, in small structures called chloroplasts, "
    "which contain a green pigment called chlorophyll. Chlorophyll absorbs light energy from the sun and uses it to "
    "split water molecules into hydrogen and oxygen. The oxygen is released into the air, and the hydrogen is combined "
    "with carbon dioxide to make glucose, which the plant uses for growth."
)


def test_smollm2_reads_english_as_the_reference_does(smollm2) -> None:
    """Perplexity 3.811 by transformers' torch model; with q and k left interleaved it is far higher."""
    next_token, _ = smollm2
    tokens, logprobs = next_token(PARAGRAPH)
    read = logprobs[np.arange(len(tokens) - 1), tokens[1:]]
    assert np.exp(-read.mean()) == pytest.approx(3.811, abs=0.01)


@pytest.mark.parametrize(
    ("prompt", "answer"), [("The capital of France is", " Paris"), ("One, two, three, four,", " five")]
)
def test_smollm2_goes_on_as_it_should(smollm2, prompt: str, answer: str) -> None:
    next_token, tokenizer = smollm2
    assert tokenizer.decode([int(np.argmax(next_token(prompt)[1][-1]))]) == answer


def test_smollm2s_tokenizer_gives_each_cell_of_a_grid_its_token(smollm2) -> None:
    _, tokenizer = smollm2
    text = "330\n055\n"
    tokens = tokenizer.encode(text)
    assert [tokenizer.decode([token]) for token in tokens] == list(text)
    assert tokenizer.encode_chat([{"role": "user", "content": "Hi"}])[0] == tokenizer.bos_token
    assert "You are a helpful AI assistant named SmolLM" in tokenizer.render_chat([{"role": "user", "content": "Hi"}])


assert set(INTERLEAVED) == set(ARCHITECTURES.values())
