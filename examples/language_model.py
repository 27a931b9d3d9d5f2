"""REBEL on a causal language model of Hugging Face: a random GPT-2 learns to write vowels (extra: transformers).

For a model of your own replace the two lines that make it by AutoModelForCausalLM and AutoTokenizer.
"""

import argparse

import torch
from transformers import ByT5Tokenizer, GPT2Config, GPT2LMHeadModel

import rebel_theory as rt
from rebel_theory.torch import FirstOrder
from rebel_theory.torch.huggingface import TextTask, policy_of


def vowels(prompts: list[str], answers: list[str]) -> list[float]:
    """Return the share of vowels in each answer of up to eight letters."""
    return [sum(letter in "aeiou" for letter in answer) / 8 for answer in answers]


def main() -> None:
    """Train, and print what was learned."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--updates", type=int, default=30)
    options.add_argument("--device", default="cpu")
    chosen = options.parse_args()
    torch.manual_seed(0)
    tokenizer = ByT5Tokenizer()  # bytes: it needs no files
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=48, n_layer=2, n_head=2))
    task = TextTask(["Say: ", "Sing: "], vowels, tokenizer, max_new_tokens=8)
    policy = policy_of(model.to(chosen.device), tokenizer, 8, solver=FirstOrder(steps=16, lr=1e-3))

    def report(update: int, gap: float) -> None:
        if update % 5 == 0:
            print(f"update {update:3d}: mean reward {1 - gap:.3f}", flush=True)

    how = {"n_iterations": chosen.updates, "oracle": rt.Sampled(64), "progress": report}
    trace = rt.run(task, rt.Rebel(step_size=4.0), policy=policy, **how)
    prompts = task.prompts(4, torch.Generator().manual_seed(1)).to(policy.device)
    answers = trace.final_policy.sample(prompts, torch.Generator(policy.device).manual_seed(1))
    print("answers:", [tokenizer.decode(row, skip_special_tokens=True) for row in answers.tokens.tolist()])


if __name__ == "__main__":
    main()
