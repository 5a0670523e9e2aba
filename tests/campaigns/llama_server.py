"""Serves a tiny random model by llama.cpp's own server: ``python llama_server.py FOLDER CONTEXT``.

It writes the model, prints the address, and serves until its input ends.
"""

import sys
import time
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

WIDTH, HEADS, LAYERS, HIDDEN = 64, 4, 2, 128
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def byte_tokens() -> list[str]:
    """Return the characters that GPT-2's vocabulary writes bytes of ASCII with.

    With all bytes a random model writes text that isn't UTF-8, and llama.cpp answers 500 to that in place of the text.
    """
    others = iter(range(256, 512))
    return [chr(byte) if 33 <= byte < 127 else chr(next(others)) for byte in range(128)]


def write_model(path: Path, context: int) -> None:
    """Write a llama of random weights whose tokens are letters.

    Args:
        path: The GGUF file.
        context: Tokens that it takes.
    """
    rng = np.random.default_rng(0)
    tokens = [*byte_tokens(), "<|end|>"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-random")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, (rng.standard_normal(shape) * 0.2).astype(np.float32))

    add("token_embd.weight", len(tokens), WIDTH)
    add("output.weight", len(tokens), WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{name}.weight", WIDTH, WIDTH)
        add(f"blk.{layer}.ffn_gate.weight", HIDDEN, WIDTH)
        add(f"blk.{layer}.ffn_up.weight", HIDDEN, WIDTH)
        add(f"blk.{layer}.ffn_down.weight", WIDTH, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(folder: str, context: str) -> None:
    """Write the model and serve it."""
    path = Path(folder) / "tiny-random.gguf"
    write_model(path, int(context))
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = int(context)
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.warmup = False
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    server = xllamacpp.Server(params)
    print(f"ADDRESS {server.listening_address}", flush=True)
    while sys.stdin.read(1):
        time.sleep(0.1)


main(*sys.argv[1:])
