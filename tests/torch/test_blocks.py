"""The block of both transformers: attention of two kinds, masks, keys and values kept from before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rebel_theory.torch.blocks import Block, fused, written_out

N, LENGTH, WIDTH, HEADS = 3, 5, 12, 2


def tokens() -> torch.Tensor:
    return torch.randn(N, LENGTH, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def block(attention) -> Block:
    made = Block(WIDTH, HEADS, torch.float64, widening=3, attention=attention)
    generator = torch.Generator().manual_seed(2)
    for p in made.parameters():
        torch.nn.init.normal_(p, generator=generator)
    return made


@pytest.mark.parametrize("causal", [False, True])
def test_attention_written_out_is_the_fused_kernel_and_a_loop_over_tokens(causal: bool) -> None:
    x = tokens()
    q, k, v = (x[..., i : i + 8].reshape(N, LENGTH, HEADS, 4).transpose(1, 2) for i in (0, 2, 4))
    seen = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril() if causal else None
    out = written_out(q, k, v, seen)
    torch.testing.assert_close(out, fused(q, k, v, seen), rtol=1e-12, atol=1e-12)
    for n, h, i in np.ndindex(N, HEADS, LENGTH):
        last = i + 1 if causal else LENGTH
        weights = np.exp([float(q[n, h, i] @ k[n, h, j]) / 2.0 for j in range(last)])  # sqrt(4)
        expected = weights @ v[n, h, :last].numpy() / weights.sum()
        np.testing.assert_allclose(out[n, h, i].numpy(), expected, rtol=1e-12, atol=1e-12)


def test_a_block_fed_token_by_token_is_the_block_fed_at_once() -> None:
    x, made = tokens(), block(fused)
    seen = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    whole, pair = made(x, seen)
    past, parts = None, []
    for i in range(LENGTH):
        part, past = made(x[:, i : i + 1], seen[i : i + 1, : i + 1], past)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(past, pair, rtol=1e-12, atol=1e-12)


def test_a_block_adds_to_what_it_read() -> None:
    """With nothing coming out of attention and perceptron the tokens pass; with one only, that is what is added."""
    x, made = tokens(), block(written_out)
    with torch.no_grad():
        for layer in (made.out, made.down):
            layer.weight.zero_()
            layer.bias.zero_()
        torch.testing.assert_close(made(x)[0], x, rtol=0, atol=0)
        made.down.bias.fill_(2.0)
        torch.testing.assert_close(made(x)[0], x + 2.0, rtol=1e-15, atol=1e-15)
        made.out.bias.fill_(0.5)
        torch.testing.assert_close(made(x)[0], x + 2.5, rtol=1e-15, atol=1e-15)
    assert made.up.out_features == 3 * WIDTH
