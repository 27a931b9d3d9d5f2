"""REBEL, PPO, RLOO, GRPO, REINFORCE and DPO on completions: time, memory, reward at equal queries and equal time."""
