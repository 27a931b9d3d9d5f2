"""REBEL on a causal language model of Hugging Face: a random GPT-2 learns to write letters (extra: transformers).

For a model of your own replace the two lines that make it by AutoModelForCausalLM and AutoTokenizer.
"""

import argparse

import torch
from transformers import ByT5Tokenizer, GPT2Config, GPT2LMHeadModel

import rebel_theory as rt
from rebel_theory.torch import FirstOrder
from rebel_theory.torch.huggingface import TextTask, policy_of


def letters(prompts: list[str], answers: list[str]) -> list[float]:
    """Return the share of lower-case letters in each answer of up to eight symbols."""
    return [sum("a" <= symbol <= "z" for symbol in answer) / 8 for answer in answers]


def main() -> None:
    """Train, and print what was learned."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--updates", type=int, default=20)
    options.add_argument("--device", default="cpu")
    chosen = options.parse_args()
    torch.manual_seed(0)
    tokenizer = ByT5Tokenizer()  # bytes: it needs no files
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    size = {"n_positions": 64, "n_embd": 48, "n_layer": 2, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **size, **ends))
    task = TextTask(["Say: ", "Sing: "], letters, tokenizer, max_new_tokens=8)
    policy = policy_of(model.to(chosen.device), tokenizer, 8, solver=FirstOrder(steps=16, lr=2e-3))

    def report(update: int, gap: float) -> None:
        if update % 5 == 0:
            print(f"update {update:3d}: mean reward {1 - gap:.3f}", flush=True)

    how = {"n_iterations": chosen.updates, "oracle": rt.Sampled(64), "progress": report}
    trace = rt.run(task, rt.Rebel(step_size=8.0), policy=policy, **how)
    prompts = task.prompts(4, torch.Generator().manual_seed(1)).to(policy.device)
    answers = trace.final_policy.sample(prompts, torch.Generator(policy.device).manual_seed(1))
    print("answers:", [tokenizer.decode(row, skip_special_tokens=True) for row in answers.tokens.tolist()])


if __name__ == "__main__":
    main()
